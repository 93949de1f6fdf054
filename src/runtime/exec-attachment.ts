import type { ExecStdio } from './exec-stdio.ts';
import type { Attachment } from './port.ts';

/** Of what comes out of a terminal after the process's end: more than can have been on its way. */
const lateTerminalBytes = 256 << 10;

type Frame = { stream: 'stdout' | 'stderr'; data: Buffer };

/**
 * A client's connection to an added process. A client that does not read stops the process at its next write, as a pipe does; one that has gone does
 * not: the process runs on, and what it writes is dropped.
 */
export class ExecAttachment implements Attachment {
  readonly #stdio: ExecStdio;
  readonly #queue: Frame[] = [];
  readonly #change = new Signal();
  readonly #onDetach: () => void;
  /** By stream, once the process has ended: what it wrote and was not read yet, in bytes. */
  readonly #left = new Map<Frame['stream'], number>();
  #exited = false;
  #closed = false;

  /** `exited` resolves when the process has ended, whoever else may hold its pipes open. */
  constructor(stdio: ExecStdio, exited: Promise<unknown>, onDetach: () => void = () => undefined) {
    this.#stdio = stdio;
    this.#onDetach = onDetach;
    for (const { stream, source } of stdio.outputs) {
      source.pause();
      source.on('close', () => this.#change.notify());
      source.on('data', (data: Buffer) => this.#take({ stream, data }));
    }
    void exited.then(() => this.#ended());
  }

  #take(frame: Frame): void {
    this.#left.set(frame.stream, (this.#left.get(frame.stream) ?? Number.POSITIVE_INFINITY) - frame.data.length);
    if (this.#closed) return;
    this.#queue.push(frame);
    // One block a stream waits here, the rest in the pipe.
    for (const { stream, source } of this.#stdio.outputs) if (stream === frame.stream) source.pause();
    this.#change.notify();
  }

  /** All that the process wrote is in its pipes now. What comes after that is a background child's, and nobody's. */
  #ended(): void {
    this.#exited = true;
    for (const { stream, pendingBytes } of this.#stdio.outputs)
      this.#left.set(stream, this.#isTerminal ? lateTerminalBytes : pendingBytes());
    if (this.#closed) this.#destroy();
    this.#change.notify();
  }

  /** Ends when the process has and all that it wrote has been given out, however slowly it is read. */
  async *output(): AsyncGenerator<Frame> {
    for (const { source } of this.#stdio.outputs) source.resume();
    try {
      while (!this.#closed) {
        const frame = this.#queue.shift();
        if (frame) {
          yield frame;
          for (const { source } of this.#stdio.outputs) source.resume();
        } else if (this.#exited && this.#isRead()) return;
        else await this.#change.wait();
      }
    } finally {
      this.close();
    }
  }

  #isRead(): boolean {
    return this.#stdio.outputs.every(
      // A terminal gives its bytes out in small pieces, and so tells only that there are none.
      ({ stream, source, pendingBytes }) =>
        source.destroyed || (this.#left.get(stream) ?? 1) <= 0 || (this.#isTerminal && pendingBytes() === 0),
    );
  }

  get #isTerminal(): boolean {
    return this.#stdio.resize !== undefined;
  }

  async write(data: Uint8Array): Promise<void> {
    const { stdin } = this.#stdio;
    if (!stdin?.writable) return;
    await new Promise<void>((resolve) => stdin.write(data, () => resolve()));
  }

  async endStdin(): Promise<void> {
    // A terminal has no end of its own; a ^D at its other side is the user's to type.
    if (!this.#isTerminal) this.#stdio.stdin?.end();
  }

  close({ detached = false }: { detached?: boolean } = {}): void {
    if (this.#closed) return;
    if (detached) this.#onDetach();
    this.#closed = true;
    this.#queue.length = 0;
    this.#change.notify();
    if (this.#exited) this.#destroy();
    else {
      if (!this.#isTerminal) this.#stdio.stdin?.destroy();
      for (const { source } of this.#stdio.outputs) source.resume();
    }
  }

  /** Closes this side whatever the process does: its next write finds nobody. */
  abandon(): void {
    this.#closed = true;
    this.#destroy();
    this.#change.notify();
  }

  #destroy(): void {
    this.#stdio.stdin?.destroy();
    for (const { source } of this.#stdio.outputs) source.destroy();
  }
}

/** Wakes one waiter; a notification while nobody waits is kept for the next. */
class Signal {
  #pending = false;
  #wake: (() => void) | undefined;

  notify(): void {
    this.#pending = true;
    this.#wake?.();
  }

  async wait(): Promise<void> {
    if (!this.#pending) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#pending = false;
    this.#wake = undefined;
  }
}
