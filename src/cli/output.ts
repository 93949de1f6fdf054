import { writeSync } from 'node:fs';
import { isErrno } from '../base/errors.ts';

/** Thrown when the reader of standard output has gone; the dispatcher then ends quietly, as SIGPIPE would end another program. */
export class ReaderGone extends Error {
  override readonly name = 'ReaderGone';
}

/**
 * Standard output and error. Writes are synchronous system calls: `process.stdout` costs 2-3 ms to make, is synchronous for pipes, files and
 * terminals on Linux anyway, and reports a vanished reader late.
 */
export class Output {
  readonly #env: NodeJS.ProcessEnv;
  #terminals: [boolean | undefined, boolean | undefined] = [undefined, undefined];

  constructor(env: NodeJS.ProcessEnv) {
    this.#env = env;
  }

  /** Throws `ReaderGone` when nobody reads standard output any more. */
  write(data: string | Uint8Array): void {
    writeAll(1, data);
  }

  line(text = ''): void {
    writeAll(1, `${text}\n`);
  }

  /** A vanished reader of standard error is no reason to stop. */
  error(data: string | Uint8Array): void {
    try {
      writeAll(2, data);
    } catch (error) {
      if (!(error instanceof ReaderGone)) throw error;
    }
  }

  isTerminal(fd: 1 | 2): boolean {
    const known = this.#terminals[fd - 1];
    if (known !== undefined) return known;
    const answer = process.getBuiltinModule('node:tty').isatty(fd);
    this.#terminals[fd - 1] = answer;
    return answer;
  }

  /** Whether colours may be used on `fd` (NO_COLOR, https://no-color.org). */
  colours(fd: 1 | 2): boolean {
    return (this.#env.NO_COLOR ?? '') === '' && this.#env.TERM !== 'dumb' && this.isTerminal(fd);
  }

  paint(fd: 1 | 2, code: number, text: string): string {
    return this.colours(fd) ? `\u001b[${code}m${text}\u001b[0m` : text;
  }
}

function writeAll(fd: number, data: string | Uint8Array): void {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  let written = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(fd, bytes, written);
    } catch (error) {
      // Somebody else who shares the pipe or terminal made it non-blocking: wait for its reader.
      if (isErrno(error, 'EAGAIN')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      else if (isErrno(error, 'EPIPE', 'EIO')) throw new ReaderGone();
      else throw error;
    }
  }
}
