import { closeSync, openSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { type SharedRing, slotBytes, WriteRing } from './write-ring.ts';

/** What the worker entry is started with to become a writer instead of a job thread. */
export type WriterThreadData = { role: 'writer'; folder: string; ring: SharedRing };

export function isWriterThreadData(data: unknown): data is WriterThreadData {
  return typeof data === 'object' && data !== null && 'role' in data && data.role === 'writer';
}

/** A second thread that creates the files of objects in a job's folder. */
export class WriterThread {
  readonly #ring = new WriteRing();

  /** `entry` is the worker entry of the engine. Returns at once; files wait in memory until the thread is up. */
  constructor(entry: URL, folder: string) {
    const data: WriterThreadData = { role: 'writer', folder, ring: this.#ring.shared };
    const worker = new Worker(entry, { name: 'objects', workerData: data, trackUnmanagedFds: false });
    worker.unref();
  }

  static takes(bytes: Uint8Array): boolean {
    return bytes.length <= slotBytes;
  }

  /** The bytes are copied before this returns. Throws SystemCallError for this or an earlier file. */
  write(file: number, bytes: Uint8Array): void {
    this.#ring.put(file, bytes);
  }

  /** Waits until all files are there. */
  flush(): void {
    this.#ring.flush();
  }

  /** Ends the thread; no file is made after this returns. */
  end(): void {
    this.#ring.stop();
  }
}

/** The thread's side: never returns to its event loop before the end. */
export function serveWriter({ folder, ring }: WriterThreadData): void {
  new WriteRing(ring).serve((file, bytes) => {
    const fd = openSync(`${folder}/${file}`, 'wx', 0o444);
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, null);
    } finally {
      closeSync(fd);
    }
  });
}
