/** One line (or, with `partial`, a piece of one) that a container wrote. `line` without its newline. */
export type LogLine = { timeNs: bigint; stream: 'stdout' | 'stderr'; line: Buffer; partial: boolean };

export type ReadOptions = {
  stdout?: boolean;
  stderr?: boolean;
  sinceNs?: bigint | undefined;
  untilNs?: bigint | undefined;
  /** Only the last so many lines of what is there; 0 for none of it. */
  tail?: number | undefined;
  follow?: boolean;
  /** Records as they were written, pieces unjoined and at once: for a live connection. `line` plus, unless `partial`, a newline is what was written. */
  raw?: boolean | undefined;
  /** Ends a `follow`, after what is there was read. Default: the container's exit, as the implementation's constructor was told to find it. */
  ended?: Promise<unknown> | undefined;
  signal?: AbortSignal | undefined;
};

/** A container's spool: what its monitor wrote, across rotations. */
export interface LogReader {
  /** With `tail: 0` the position is where the spool ends when this is called, not at the first read. Buffers are the caller's to keep. */
  read(containerId: string, options: ReadOptions): AsyncIterable<LogLine>;
}

/** A spool that is being written, as the rotator sees it. */
export type LiveSpool = {
  id: string;
  directory: string;
  /** A file is closed when it is past this size, and the oldest of more than `maxFiles` (the current one counts) are removed. */
  maxBytes: number;
  maxFiles: number;
  /** Paths that the writer has open. Empty when there is no writer any more. */
  openPaths(): Promise<string[]>;
  /** Has the writer open the current path anew: it makes `spool.tmp`, writes there from then on, and renames it to `spool`. */
  reopen(): Promise<void>;
};
