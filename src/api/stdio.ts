import { FrameStream } from '../api-types/own.ts';
import type { Attachment } from '../runtime/port.ts';
import { DetachFilter } from './detach-keys.ts';
import { frame } from './framing.ts';

/** What carries a process's stdio to a client: a hijacked connection or a WebSocket. Each direction ends by itself. */
export interface StdioConnection {
  /** Aborts when the peer is gone. */
  readonly signal: AbortSignal;
  /** The client's bytes until it ends its side. Never throws. */
  input(): AsyncIterable<Buffer>;
  /** Waits while the peer does not read. */
  write(chunk: Uint8Array): Promise<void>;
  /** Sends what is queued and closes both directions. */
  close(): void;
}

export type StdioOptions = {
  /** Each piece of output is framed with its stream; else it is raw. */
  framed: boolean;
  stdin: boolean;
  /** Bytes that detach, when they are typed at a tty. */
  detachKeys: Buffer | undefined;
};

/**
 * Joins a client's connection to a process's stdio until the process ends, the client goes or the detach keys are typed. The end of the client's
 * input ends stdin and leaves output flowing. Both ends are closed when it returns.
 */
export async function joinStdio(connection: StdioConnection, attachment: Attachment, options: StdioOptions): Promise<void> {
  const leave = () => attachment.close();
  connection.signal.addEventListener('abort', leave);
  if (connection.signal.aborted) leave();
  if (options.stdin) void pumpInput(connection, attachment, options).catch(leave);
  try {
    for await (const { stream, data } of attachment.output()) {
      await connection.write(options.framed ? frame(FrameStream[stream], data) : data);
    }
  } finally {
    attachment.close();
    connection.close();
  }
}

async function pumpInput(connection: StdioConnection, attachment: Attachment, { detachKeys }: StdioOptions): Promise<void> {
  const filter = detachKeys === undefined ? undefined : new DetachFilter(detachKeys);
  for await (const chunk of connection.input()) {
    const { data, detached } = filter?.push(chunk) ?? { data: chunk, detached: false };
    if (data.length > 0) await attachment.write(data);
    if (detached) return attachment.close({ detached: true });
  }
  // A connection that broke is a client that went away, not one that said "no more input".
  if (!connection.signal.aborted) await attachment.endStdin();
}
