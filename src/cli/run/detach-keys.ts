import { usageError } from '../flags.ts';

export const defaultDetachKeys = 'ctrl-p,ctrl-q';

const control = '@abcdefghijklmnopqrstuvwxyz[\\]^_';

/** Docker's `--detach-keys`: keys with commas between, each a character or `ctrl-` and one of `a-z@[\]^_`. */
export function parseDetachKeys(text: string): Buffer {
  const keys = text.split(',').map((key) => {
    if (key.length === 1 && key.charCodeAt(0) < 128) return key.charCodeAt(0);
    const code = /^ctrl-.$/.test(key) ? control.indexOf(key.slice(5)) : -1;
    if (code < 0) throw usageError(`invalid argument "${text}" for --detach-keys`, 'Keys look like ctrl-p,ctrl-q or ctrl-].');
    return code;
  });
  return Buffer.from(keys);
}

/**
 * Watches what is typed for the sequence that detaches. Keys that may begin it are held back until the next ones tell, so that the
 * program inside never sees half of it.
 */
export class DetachWatcher {
  readonly #keys: Buffer;
  #matched = 0;

  constructor(keys: Buffer) {
    this.#keys = keys;
  }

  /** What to pass on; with `detached`, the sequence is complete and what came after it is dropped. */
  push(typed: Buffer): { forward: Buffer; detached: boolean } {
    const forward: number[] = [];
    for (const byte of typed) {
      if (byte !== this.#keys[this.#matched]) {
        forward.push(...this.#keys.subarray(0, this.#matched));
        this.#matched = 0;
      }
      if (byte !== this.#keys[this.#matched]) forward.push(byte);
      else if (++this.#matched === this.#keys.length) return { forward: Buffer.from(forward), detached: true };
    }
    return { forward: Buffer.from(forward), detached: false };
  }
}
