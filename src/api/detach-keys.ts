import { invalid } from './errors.ts';

/** Ctrl-P, Ctrl-Q. */
const defaultKeys = 'ctrl-p,ctrl-q';

/** `ctrl-p,ctrl-q` or `a,b,c` to bytes (moby/term ascii.go). */
export function parseDetachKeys(text = defaultKeys): Buffer {
  const bytes = text.split(',').map((key) => {
    if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0);
    const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(key)?.[1];
    if (control === undefined) {
      throw invalid(
        'DETACH_KEYS_INVALID',
        `Invalid detach keys (${text.slice(0, 100)}) provided: "${key.slice(0, 20)}" is not a key`,
        'Give single characters and ctrl-<letter>, separated by commas.',
      );
    }
    return control.toUpperCase().charCodeAt(0) & 0x1f;
  });
  return Buffer.from(bytes);
}

/** Looks for the detach keys in what is typed. Bytes that may begin the sequence are held back until it is clear that they do not. */
export class DetachFilter {
  readonly #keys: Buffer;
  #matched = 0;

  constructor(keys: Buffer) {
    this.#keys = keys;
  }

  /** What to pass on, and whether the sequence is complete; what follows it is dropped. */
  push(chunk: Buffer): { data: Buffer; detached: boolean } {
    const out: number[] = [];
    for (const byte of chunk) {
      if (byte === this.#keys[this.#matched]) {
        this.#matched += 1;
        if (this.#matched === this.#keys.length) return { data: Buffer.from(out), detached: true };
        continue;
      }
      out.push(...this.#keys.subarray(0, this.#matched));
      this.#matched = byte === this.#keys[0] ? 1 : 0;
      if (this.#matched === 0) out.push(byte);
    }
    return { data: Buffer.from(out), detached: false };
  }
}
