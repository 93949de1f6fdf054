import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { EngineError } from '../../base/errors.ts';

/** A body that nobody wants is read so far, to keep the connection; a longer one ends it. */
const maxDiscardedBytes = 64 * 1024;

/** An answer of which the status is there and the body still comes. Holds a connection until the body has been read, or `discard`. */
export class HttpAnswer implements AsyncDisposable {
  readonly status: number;
  readonly reason: string;
  readonly headers: IncomingHttpHeaders;
  /** Who answered, after redirects. */
  readonly url: URL;
  wasRedirected = false;
  /** Called once, when the connection is free or gone. */
  onEnd: () => void = () => {};
  readonly #message: IncomingMessage;
  readonly #stallMs: number;
  readonly #signal: AbortSignal | undefined;
  #failure: unknown;
  #wake: () => void = () => {};

  constructor(message: IncomingMessage, options: { url: URL; stallMs: number; signal: AbortSignal | undefined }) {
    this.#message = message;
    this.status = message.statusCode ?? 0;
    this.reason = message.statusMessage ?? '';
    this.headers = message.headers;
    this.url = options.url;
    this.#stallMs = options.stallMs;
    this.#signal = options.signal;
    message.on('error', (error) => {
      this.#failure ??= error;
      this.#wake();
    });
    message.on('readable', () => this.#wake()).on('end', () => this.#wake());
    message.on('close', () => {
      this.#wake();
      this.#end();
    });
  }

  /** Nothing more comes, and the connection is free or gone. */
  get isOver(): boolean {
    return this.#message.closed;
  }

  /** What Content-Length says. */
  get length(): number | undefined {
    const text = this.headers['content-length'];
    return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
  }

  /** The body, once. Unavailable `REGISTRY_UNREACHABLE` when it is cut or stalls; ending the loop early ends the connection. */
  async *body(): AsyncGenerator<Buffer, void, undefined> {
    const message = this.#message;
    try {
      for (;;) {
        if (this.#failure !== undefined) throw this.#cut(this.#failure);
        const chunk: Buffer | null = message.read();
        if (chunk !== null) yield chunk;
        else if (message.readableEnded) return;
        else if (message.destroyed && this.#failure === undefined) throw this.#cut(new Error('the connection was closed'));
        else await this.#more();
      }
    } finally {
      if (!message.readableEnded) message.destroy();
      this.#end();
    }
  }

  /** The whole body. Unavailable `REGISTRY_ANSWER_INVALID` when it has more bytes than that. */
  async read(maxBytes: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of this.body()) {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        throw new EngineError('Unavailable', 'REGISTRY_ANSWER_INVALID', `a registry's answer has more than ${maxBytes} bytes`);
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  /** Lets go of the body. Never throws. */
  async discard(): Promise<void> {
    if (this.#message.destroyed || this.#message.readableEnded) return this.#end();
    try {
      if ((this.length ?? 0) > maxDiscardedBytes) this.#message.destroy();
      else await this.read(maxDiscardedBytes);
    } catch {
      // It is not wanted.
    } finally {
      this.#end();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.discard();
  }

  #end(): void {
    const { onEnd } = this;
    this.onEnd = () => {};
    onEnd();
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#failure ??= new Error(`nothing came within ${this.#stallMs / 1000} seconds`);
        this.#message.destroy();
        this.#wake();
      }, this.#stallMs);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = () => {};
        resolve();
      };
    });
  }

  #cut(cause: unknown): unknown {
    if (this.#signal?.aborted) return this.#signal.reason;
    const why = cause instanceof Error ? cause.message : String(cause);
    const { origin, pathname } = this.url;
    return new EngineError('Unavailable', 'REGISTRY_UNREACHABLE', `Get "${origin}${pathname}": the answer broke off: ${why}`, { cause });
  }
}
