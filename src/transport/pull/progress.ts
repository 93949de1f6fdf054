import type { Descriptor } from '../../oci/image.ts';
import type { TransferProgress } from '../port.ts';

/** Often enough for a bar that moves. */
const everyMs = 100;

/** Tells what happens to one layer, in Docker's words. */
export class LayerProgress {
  readonly #id: string;
  readonly #total: number;
  readonly #report: (progress: TransferProgress) => void;
  #downloaded = false;
  #toldAt = 0;

  constructor({ digest, size }: Descriptor, report: (progress: TransferProgress) => void) {
    this.#id = digest.slice('sha256:'.length, 'sha256:'.length + 12);
    this.#total = size;
    this.#report = report;
  }

  announce(): void {
    this.#say('Pulling fs layer');
  }

  wait(): void {
    this.#say('Waiting');
  }

  exists(): void {
    this.#say('Already exists');
  }

  downloading(bytes: number): void {
    if (bytes >= this.#total && !this.#downloaded) {
      this.#downloaded = true;
      this.#say('Verifying Checksum');
      this.#say('Download complete');
    } else if (bytes < this.#total) {
      this.#downloaded = false;
      this.#count('Downloading', bytes);
    }
  }

  /** Unpacking goes on while the blob comes; Docker's clients expect to hear of it afterwards. */
  extracting(bytes: number): void {
    if (this.#downloaded) this.#count('Extracting', bytes);
  }

  complete(): void {
    this.#say('Pull complete');
  }

  #say(status: string): void {
    this.#report({ id: this.#id, status });
  }

  #count(status: string, current: number): void {
    const now = performance.now();
    if (now - this.#toldAt < everyMs) return;
    this.#toldAt = now;
    this.#report({ id: this.#id, status, current, total: this.#total });
  }
}
