import type { Duplex } from 'node:stream';
import { maxStdinFrameBytes, type RunControlFromDaemon, type RunControlToDaemon } from '../../api-types/own.ts';
import { EngineError, fromErrorData } from '../../base/errors.ts';
import type { Span } from '../../base/timeline.ts';
import { encodeFrame, FrameDecoder, streams } from '../client/frames.ts';
import { type Output, ReaderGone } from '../output.ts';
import { LocalEnd, type LocalOptions, type Remote, type Size } from './local.ts';

/** What the daemon says on the control stream, one key a message; those with other keys are ignored. */
type ControlMessage = Partial<AllKeys<RunControlFromDaemon>>;
type AllKeys<U> = { [K in U extends unknown ? keyof U : never]: U extends { [P in K]: infer V } ? V : never };

export type SessionEnd = { id: string | undefined; exitCode: number; detached: boolean; error: EngineError | undefined };

type SessionOptions = LocalOptions & {
  detach: boolean;
  onId(id: string): void;
  onWarnings(warnings: readonly string[]): void;
  onTiming?(spans: readonly Span[]): void;
};

/**
 * Follows a container over an upgraded `slipway-run` connection until it exits, is left alone (detach keys), or, with `detach`, has started.
 * Rejects with Unavailable `DAEMON_LOST` when the connection breaks before that.
 */
export function followRun(socket: Duplex, output: Output, options: SessionOptions): Promise<SessionEnd> {
  return new Promise((resolve, reject) => {
    const end: SessionEnd = { id: undefined, exitCode: 0, detached: false, error: undefined };
    const remote = runRemote(socket);
    const local = new LocalEnd(remote, options);
    const printer = new Printer(output, () => {
      if (options.proxySignals) remote.signal('SIGPIPE');
    });
    const finish = (settle: () => void) => {
      local.close();
      socket.destroy();
      settle();
    };
    const onControl = (message: ControlMessage) => {
      if (message.id !== undefined) {
        end.id = message.id;
        options.onId(message.id);
      } else if (message.warnings !== undefined) options.onWarnings(message.warnings);
      else if (message.timing !== undefined) options.onTiming?.(message.timing);
      else if (message.error !== undefined) end.error = fromErrorData(message.error);
      else if (message.started !== undefined && options.detach) finish(() => resolve(end));
      else if (message.exit !== undefined) {
        end.exitCode = message.exit.code;
        end.error ??= exitError(message.exit);
        finish(() => resolve(end));
      }
    };
    const decoder = new FrameDecoder(
      (stream, data) => {
        if (stream === streams.control) onControl(JSON.parse(data.toString('utf8')) as ControlMessage);
        else printer.print(stream, data);
      },
      { whole: [streams.control] },
    );
    const onEnd = () => {
      if (local.detached) finish(() => resolve({ ...end, detached: true }));
      else finish(() => reject(daemonLost(end.id)));
    };
    socket.on('data', (piece: Buffer) => {
      try {
        decoder.push(piece);
      } catch (error) {
        finish(() => reject(error));
      }
    });
    socket.once('end', onEnd);
    socket.once('error', onEnd);
    if (!options.detach) local.open();
    socket.resume();
  });
}

function exitError({ code, error }: { code: number; error?: string | undefined }): EngineError | undefined {
  return error === undefined ? undefined : new EngineError('Internal', 'CONTAINER_ERROR', error, { exitCode: code });
}

function daemonLost(id: string | undefined): EngineError {
  return new EngineError('Unavailable', 'DAEMON_LOST', 'the connection to the daemon was lost', {
    hint:
      id === undefined
        ? undefined
        : `The container may still run: see "slipway ps", and "slipway attach ${id.slice(0, 12)}" once the daemon is back.`,
    exitCode: 125,
  });
}

function runRemote(socket: Duplex): Remote {
  const tell = (message: RunControlToDaemon) => socket.write(encodeFrame(streams.control, JSON.stringify(message)));
  return {
    socket,
    sendInput(data) {
      let room = true;
      for (let at = 0; at < data.length; at += maxStdinFrameBytes)
        room = socket.write(encodeFrame(streams.stdin, data.subarray(at, at + maxStdinFrameBytes)));
      return room;
    },
    endInput: () => tell({ eof: true }),
    resize: ({ rows, columns }: Size) => tell({ resize: [rows, columns] }),
    signal: (name) => tell({ signal: name }),
    detach: () => tell({ detach: true }),
  };
}

/** Writes a session's output where it belongs. Once standard output has no reader, the rest is dropped and the far end is told, once. */
export class Printer {
  readonly #output: Output;
  readonly #onReaderGone: () => void;
  #gone = false;

  constructor(output: Output, onReaderGone: () => void) {
    this.#output = output;
    this.#onReaderGone = onReaderGone;
  }

  print(stream: number, data: Buffer): void {
    if (stream === streams.stderr) this.#output.error(data);
    else if (!this.#gone) this.#printOut(data);
  }

  #printOut(data: Buffer): void {
    try {
      this.#output.write(data);
    } catch (error) {
      if (!(error instanceof ReaderGone)) throw error;
      this.#gone = true;
      this.#onReaderGone();
    }
  }
}
