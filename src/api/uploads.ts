import { EngineError } from '../base/errors.ts';
import type { Upload } from './upload.ts';

/** How long one of the two requests waits for the other. */
const meetMs = 30_000;

type Offer = { upload: Upload; taken(): void };

/** Contexts that come in a request of their own, beside the build that wants them: both name the build's id. */
export class Uploads {
  readonly #offers = new Map<string, Offer>();
  readonly #wanted = new Map<string, (offer: Offer) => void>();

  /** Resolves when the build is done with it, or when none came for it. */
  async offer(id: string, upload: Upload): Promise<void> {
    if (this.#offers.has(id)) throw new EngineError('Conflict', 'UPLOAD_EXISTS', `the build ${id.slice(0, 100)} has a context already`);
    const { promise, resolve } = Promise.withResolvers<void>();
    const offer = { upload, taken: resolve };
    const wanted = this.#wanted.get(id);
    if (wanted !== undefined) {
      wanted(offer);
      return promise;
    }
    this.#offers.set(id, offer);
    const timer = setTimeout(() => this.#offers.delete(id) && resolve(), meetMs);
    await promise;
    clearTimeout(timer);
    this.#offers.delete(id);
  }

  /** The context of a build; disposing it lets the other request end. */
  async take(id: string, signal: AbortSignal): Promise<{ file: string } & Disposable> {
    const { upload, taken } = this.#offers.get(id) ?? (await this.#arrival(id, AbortSignal.any([signal, AbortSignal.timeout(meetMs)])));
    this.#offers.delete(id);
    return { file: upload.file, [Symbol.dispose]: taken };
  }

  async #arrival(id: string, stop: AbortSignal): Promise<Offer> {
    try {
      return await new Promise<Offer>((resolve, reject) => {
        this.#wanted.set(id, resolve);
        stop.addEventListener(
          'abort',
          () => reject(new EngineError('InvalidArgument', 'CONTEXT_MISSING', 'the build context did not come')),
          {
            once: true,
          },
        );
      });
    } finally {
      this.#wanted.delete(id);
    }
  }
}
