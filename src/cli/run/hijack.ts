import type { Duplex } from 'node:stream';
import { EngineError } from '../../base/errors.ts';
import { type EngineClient, route } from '../client/client.ts';
import { FrameDecoder } from '../client/frames.ts';
import type { Output } from '../output.ts';
import { LocalEnd, type LocalOptions, type Size } from './local.ts';
import { Printer } from './session.ts';

export type HijackEnd = { detached: boolean };

/** What the session is of: sizes and signals go to it in requests of their own. An exec takes no signals. */
export type HijackTarget = { kind: 'container' | 'exec' | 'debug'; id: string };

/**
 * Follows a connection that Docker's attach and exec start have upgraded to a raw stream (`tty`) or to multiplexed frames, until the far end closes it
 * or the detach keys are typed.
 */
export function followHijacked(
  client: EngineClient,
  socket: Duplex,
  output: Output,
  target: HijackTarget,
  options: LocalOptions,
): Promise<HijackEnd> {
  return new Promise((resolve, reject) => {
    const requests = new TargetRequests(client, target);
    const local = new LocalEnd(
      {
        socket,
        sendInput: (data) => socket.write(data),
        endInput: () => socket.end(),
        resize: (size) => requests.resize(size),
        signal: (name) => requests.signal(name),
        detach: () => finish(() => resolve({ detached: true })),
      },
      options,
    );
    const printer = new Printer(output, () => {
      if (options.proxySignals) requests.signal('SIGPIPE');
    });
    const finish = (settle: () => void) => {
      local.close();
      socket.destroy();
      settle();
    };
    const decoder = options.tty ? undefined : new FrameDecoder((stream, data) => printer.print(stream, data));
    socket.on('data', (piece: Buffer) => {
      if (decoder === undefined) printer.print(1, piece);
      else decoder.push(piece);
    });
    socket.once('end', () => {
      const cut = decoder !== undefined && !decoder.complete;
      finish(() => (cut ? reject(streamCut()) : resolve({ detached: false })));
    });
    socket.once('error', () => finish(() => reject(streamCut())));
    local.open();
    socket.resume();
  });
}

function streamCut(): EngineError {
  return new EngineError('Unavailable', 'DAEMON_LOST', 'the connection to the daemon was lost in the middle of the output', {
    hint: 'What runs may still do so: see "slipway ps".',
  });
}

/** Fire-and-forget requests about the far end: it may have ended in between, which the stream tells better. */
class TargetRequests {
  readonly #client: EngineClient;
  readonly #target: HijackTarget;

  constructor(client: EngineClient, target: HijackTarget) {
    this.#client = client;
    this.#target = target;
  }

  resize({ rows, columns }: Size): void {
    const { kind, id } = this.#target;
    const paths = {
      container: route`/containers/${id}/resize`,
      exec: route`/exec/${id}/resize`,
      debug: route`/slipway/build-debug/${id}/resize`,
    };
    const path = paths[kind];
    this.#client.post(path, { query: { h: rows, w: columns } }).catch(() => undefined);
  }

  signal(name: string): void {
    const { kind, id } = this.#target;
    if (kind === 'container') this.#client.post(route`/containers/${id}/kill`, { query: { signal: name } }).catch(() => undefined);
  }
}
