import type { ExecStdio } from './exec.ts';
import type { Attachment } from './port.ts';

/** After the process's end: this long without output is the end of it. */
const silenceMs = 500;
/** More than two pipes and the blocks read from them can hold. */
const lastOutputBytes = 512 << 10;

type Frame = { stream: 'stdout' | 'stderr'; data: Buffer };

/** A client's connection to an added process. A client that does not read stops the process at its next write, as a pipe does. */
export class ExecAttachment implements Attachment {
  readonly #stdio: ExecStdio;
  readonly #exited: Promise<void>;
  #closed = false;

  constructor(stdio: ExecStdio, exited: Promise<void>) {
    this.#stdio = stdio;
    this.#exited = exited;
    stdio.stdin?.on('error', () => undefined);
    // A terminal's end shows as EIO.
    for (const { source } of stdio.outputs) source.on('error', () => source.destroy());
  }

  /**
   * Ends when the process has, and all that it wrote was read, however slowly. A background child may hold the pipes open for ever: what it writes
   * later ends with a silence, or once more has come than can have waited in the pipes.
   */
  async *output(): AsyncGenerator<Frame> {
    const queue: Frame[] = [];
    const change = new Signal();
    let open = this.#stdio.outputs.length;
    for (const { stream, source } of this.#stdio.outputs) {
      source.on('data', (data: Buffer) => {
        queue.push({ stream, data });
        // One block a stream waits here, the rest in the pipe.
        source.pause();
        change.notify();
      });
      source.on('close', () => {
        open--;
        change.notify();
      });
    }
    let exited = false;
    void this.#exited.then(() => {
      exited = true;
      change.notify();
    });
    let lateBytes = 0;
    try {
      while (!this.#closed) {
        const frame = queue.shift();
        if (frame) {
          if (exited) lateBytes += frame.data.length;
          yield frame;
          for (const { source } of this.#stdio.outputs) source.resume();
        } else if (open === 0) {
          await this.#exited;
          return;
        } else if (lateBytes > lastOutputBytes || !(await change.wait(exited ? silenceMs : undefined))) return;
      }
    } finally {
      this.close();
    }
  }

  /** Reads and drops everything: for a process that nobody watches. */
  drain(): void {
    for (const { source } of this.#stdio.outputs) source.resume();
  }

  async write(data: Uint8Array): Promise<void> {
    const { stdin } = this.#stdio;
    if (!stdin?.writable) return;
    await new Promise<void>((resolve) => stdin.write(data, () => resolve()));
  }

  async endStdin(): Promise<void> {
    const { stdin, terminal } = this.#stdio;
    if (!stdin) return;
    // A terminal has no end of its own; a ^D at its other side is the user's to type.
    if (terminal === undefined) stdin.end();
  }

  close(): void {
    this.#closed = true;
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

  /** False when nothing came within `timeoutMs`; without it, it waits for ever. */
  async wait(timeoutMs: number | undefined): Promise<boolean> {
    if (!this.#pending) {
      await new Promise<void>((resolve) => {
        const timer = timeoutMs === undefined ? undefined : setTimeout(resolve, timeoutMs).unref();
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const notified = this.#pending;
    this.#pending = false;
    this.#wake = undefined;
    return notified;
  }
}
