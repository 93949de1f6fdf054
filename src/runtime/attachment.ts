import type { Socket } from 'node:net';
import type { LogReader } from '../logging/port.ts';
import type { Container } from './container.ts';
import type { Attachment } from './port.ts';

/** The monitor cuts a packet on its attach socket after this many bytes. */
const packetBytes = 32_768;

export type AttachmentOptions = { stdin: boolean; stdout: boolean; stderr: boolean; logs: boolean; stream: boolean };

/**
 * A client's connection to a container's stdio. Output is the tail of the spool, so that a client that does not read can never hold up the
 * container; only stdin goes through the monitor's socket. Made before a start, it misses nothing of it.
 */
export class ContainerAttachment implements Attachment {
  readonly #container: Container;
  readonly #options: AttachmentOptions;
  readonly #abort = new AbortController();
  readonly #lines: ReturnType<LogReader['read']> | undefined;
  readonly #onDetach: () => void;
  #stdin: Promise<Socket> | undefined;
  #connection: Socket | undefined;
  #stopWaiting: (() => void) | undefined;

  constructor(
    container: Container,
    logs: LogReader,
    options: AttachmentOptions,
    { connect, onDetach }: { connect: () => Socket; onDetach: () => void },
  ) {
    this.#container = container;
    this.#options = options;
    this.#onDetach = onDetach;
    const { stdout, stderr } = options;
    if ((stdout || stderr) && (options.stream || options.logs)) {
      this.#lines = logs.read(container.id, {
        raw: true,
        stdout,
        stderr,
        follow: options.stream,
        ended: exitOf(container),
        signal: this.#abort.signal,
        ...(options.logs ? {} : { tail: 0 }),
      });
    }
    if (options.stdin && options.stream && container.record.config.OpenStdin) this.#stdin = this.#connect(connect);
  }

  /** At once when the container runs, else when it is made, before its process begins: not a byte and not an end of input is late. */
  #connect(connect: () => Socket): Promise<Socket> {
    const open = () => {
      const socket = connect();
      socket.on('error', () => undefined);
      this.#connection = socket;
      return socket;
    };
    if (this.#container.record.state.status === 'running') return Promise.resolve().then(open);
    const { promise, resolve, reject } = Promise.withResolvers<Socket>();
    promise.catch(() => undefined);
    const created = () => {
      this.#container.onCreated.delete(created);
      try {
        resolve(open());
      } catch (error) {
        reject(error);
      }
    };
    this.#container.onCreated.add(created);
    this.#stopWaiting = () => {
      this.#container.onCreated.delete(created);
      reject(new Error('the connection was closed before the container began'));
    };
    return promise;
  }

  async *output(): AsyncGenerator<{ stream: 'stdout' | 'stderr'; data: Buffer }> {
    if (!this.#lines) {
      // Without output the connection still lasts as long as the container.
      if (this.#options.stream) await Promise.race([exitOf(this.#container), aborted(this.#abort.signal)]);
      return;
    }
    try {
      for await (const { stream, line, partial } of this.#lines) yield { stream, data: partial ? line : Buffer.concat([line, newline]) };
    } catch (error) {
      if (!this.#abort.signal.aborted) throw error;
    }
  }

  /** Resolves when the monitor has taken it: as slow as the container reads. What comes after its end is dropped, as in a pipe nobody reads. */
  async write(data: Uint8Array): Promise<void> {
    const socket = await this.#stdin?.catch(() => undefined);
    if (!socket) return;
    for (let start = 0; start < data.length && socket.writable; start += packetBytes) {
      await new Promise<void>((resolve) => socket.write(data.subarray(start, start + packetBytes), () => resolve()));
    }
  }

  async endStdin(): Promise<void> {
    const socket = await this.#stdin?.catch(() => undefined);
    socket?.destroy();
  }

  close({ detached = false }: { detached?: boolean } = {}): void {
    if (detached && !this.#abort.signal.aborted) this.#onDetach();
    this.#abort.abort();
    this.#stopWaiting?.();
    this.#connection?.destroy();
  }
}

const newline = Buffer.from('\n');

/** The end of this run, or of the next when none is under way. */
function exitOf(container: Container): Promise<true> {
  const before = container.exits;
  return container.waitFor(() => (container.exits > before || container.removed ? true : undefined));
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
}
