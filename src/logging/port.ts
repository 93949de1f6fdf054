/** One line (or, with `partial`, a piece of one) that a container wrote. `line` without its newline. */
export type LogLine = { timeNs: bigint; stream: 'stdout' | 'stderr'; line: Buffer; partial: boolean };

export type ReadOptions = {
  stdout?: boolean;
  stderr?: boolean;
  sinceNs?: bigint | undefined;
  untilNs?: bigint | undefined;
  tail?: number | undefined;
  follow?: boolean;
  signal?: AbortSignal | undefined;
};

/** A container's spool: what its monitor wrote, across rotations. */
export interface LogReader {
  read(containerId: string, options: ReadOptions): AsyncIterable<LogLine>;
}
