import { once } from 'node:events';
import type { ExecStdio } from './exec.ts';
import type { Attachment } from './port.ts';

/** A background child may hold the pipes open for ever: how long after the process's end its last output may take. */
const lastOutputMs = 500;

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

  /** Ends when the process has, and its output was read. */
  async *output(): AsyncGenerator<Frame> {
    const queue: Frame[] = [];
    let wake = () => {};
    let open = this.#stdio.outputs.length;
    for (const { stream, source } of this.#stdio.outputs) {
      source.on('data', (data: Buffer) => {
        queue.push({ stream, data });
        // One block a stream waits here, the rest in the pipe.
        source.pause();
        wake();
      });
      source.on('close', () => {
        open--;
        wake();
      });
    }
    let over = false;
    void this.#exited.then(async () => {
      await Promise.race([this.#drained(), new Promise((resolve) => setTimeout(resolve, lastOutputMs).unref())]);
      over = true;
      wake();
    });
    try {
      for (;;) {
        const frame = queue.shift();
        if (frame) {
          yield frame;
          for (const { source } of this.#stdio.outputs) source.resume();
        } else if (over || this.#closed) return;
        else if (open === 0) {
          await this.#exited;
          return;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      this.close();
    }
  }

  async #drained(): Promise<void> {
    await Promise.all(this.#stdio.outputs.map(({ source }) => (source.closed ? undefined : once(source, 'close'))));
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
