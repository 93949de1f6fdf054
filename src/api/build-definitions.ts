import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { EngineError } from '../base/errors.ts';
import { invalid } from './errors.ts';

/** How long a build may let wait for itself. */
const keptMs = 10 * 60_000;
const most = 64;
const maxBytes = 16 * 1024 * 1024;

type Kept = { readonly text: string; readonly timer: NodeJS.Timeout };

/** Build definitions between their coming in and the build that names them: a header is too small for them, and the body is the context's. In memory only. */
export class BuildDefinitions {
  readonly #kept = new Map<string, Kept>();

  /** Gives the id by which a build is to name it. What it says is looked at by the build. */
  async receive(body: unknown): Promise<string> {
    const text = await readText(body);
    const oldest = this.#kept.keys().next();
    if (this.#kept.size >= most && !oldest.done) this.#forget(oldest.value);
    const id = randomBytes(16).toString('hex');
    this.#kept.set(id, { text, timer: setTimeout(() => this.#kept.delete(id), keptMs).unref() });
    return id;
  }

  /** NotFound when it never was, or came too long ago. It may be asked for again: a client whose folder the daemon does not see sends its build twice. */
  get(id: string): string {
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept.text;
    throw new EngineError('NotFound', 'DEFINITION_NOT_FOUND', `there is no build definition ${id.slice(0, 100)}`, {
      hint: `Send it again: it is kept for ${keptMs / 60_000} minutes.`,
    });
  }

  #forget(id: string): void {
    clearTimeout(this.#kept.get(id)?.timer);
    this.#kept.delete(id);
  }
}

async function readText(body: unknown): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of body instanceof Readable ? body : []) {
    bytes += (piece as Buffer).length;
    if (bytes > maxBytes) throw invalid('DEFINITION_TOO_LARGE', `the build definition has more than ${maxBytes} bytes`);
    pieces.push(piece as Buffer);
  }
  return Buffer.concat(pieces).toString('utf8');
}
