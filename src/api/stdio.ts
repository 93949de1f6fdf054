import { FrameStream } from '../api-types/own.ts';
import type { Attachment } from '../runtime/port.ts';
import { DetachFilter } from './detach-keys.ts';
import { frame } from './framing.ts';
import type { HijackedConnection } from './hijack.ts';

export type StdioOptions = {
  /** A tty's output is raw; without one each piece is framed with its stream. */
  tty: boolean;
  stdin: boolean;
  /** Bytes that detach; only with a tty. */
  detachKeys: Buffer;
};

/**
 * Joins a client's connection to a process's stdio until the process ends, the client goes or the detach keys are typed. The end of the client's
 * input ends stdin and leaves output flowing. Both ends are closed when it returns.
 */
export async function joinStdio(connection: HijackedConnection, attachment: Attachment, options: StdioOptions): Promise<void> {
  const leave = () => attachment.close();
  connection.signal.addEventListener('abort', leave);
  if (connection.signal.aborted) leave();
  if (options.stdin) void pumpInput(connection, attachment, options).catch(leave);
  try {
    for await (const { stream, data } of attachment.output()) {
      await connection.write(options.tty ? data : frame(FrameStream[stream], data));
    }
  } finally {
    attachment.close();
    connection.close();
  }
}

async function pumpInput(connection: HijackedConnection, attachment: Attachment, options: StdioOptions): Promise<void> {
  const filter = options.tty ? new DetachFilter(options.detachKeys) : undefined;
  for await (const chunk of connection.input()) {
    const { data, detached } = filter?.push(chunk) ?? { data: chunk, detached: false };
    if (data.length > 0) await attachment.write(data);
    if (detached) return attachment.close();
  }
  // A connection that broke is a client that went away, not one that said "no more input".
  if (!connection.signal.aborted) await attachment.endStdin();
}
