import type { Socket } from 'node:net';
import { EngineError } from '../../base/errors.ts';
import { Channel } from '../grpc/channel.ts';
import type { SessionOffer } from '../port.ts';

/** How long a build waits for the session that it names: client libraries open both at once. */
const arrivalMs = 10_000;

/** What the client of a build serves: its files, secrets and so on. */
export class Session {
  readonly id: string;
  readonly sharedKey: string;
  readonly channel: Channel;
  readonly #methods: ReadonlySet<string>;

  constructor(offer: SessionOffer, channel: Channel) {
    this.id = offer.id;
    this.sharedKey = offer.sharedKey;
    this.channel = channel;
    this.#methods = new Set(offer.methods.map((method) => method.toLowerCase()));
  }

  /** `method` is `/package.Service/Method`; case does not count. */
  serves(method: string): boolean {
    return this.#methods.has(method.toLowerCase());
  }
}

/** The sessions that clients have open, by their ids. */
export class Sessions {
  readonly #open = new Map<string, Session>();
  readonly #arriving = new Set<string>();
  readonly #waiting = new Map<string, Set<(session: Session) => void>>();

  /** Takes a connection in once its id is known to be free. Resolves when the connection is over. */
  async attach(offer: SessionOffer, connect: () => Promise<Socket>): Promise<void> {
    const { id } = offer;
    if (!/^[\x21-\x7e]{1,256}$/.test(id)) throw new EngineError('InvalidArgument', 'SESSION_INVALID', 'the session has no proper id');
    if (this.#open.has(id) || this.#arriving.has(id)) throw new EngineError('Conflict', 'SESSION_EXISTS', `session ${id} already exists`);
    this.#arriving.add(id);
    let session: Session;
    try {
      session = new Session(offer, new Channel(await connect()));
    } finally {
      this.#arriving.delete(id);
    }
    const { closed } = session.channel;
    if (closed.aborted) return;
    this.#open.set(id, session);
    for (const arrived of this.#waiting.get(id) ?? []) arrived(session);
    this.#waiting.delete(id);
    await new Promise<void>((resolve) => closed.addEventListener('abort', () => resolve(), { once: true }));
    this.#open.delete(id);
  }

  /** The session of that id, waited for a short time. Unavailable `SESSION_MISSING`. */
  async get(id: string, signal: AbortSignal): Promise<Session> {
    signal.throwIfAborted();
    const open = this.#open.get(id);
    if (open !== undefined) return open;
    const waiting = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, waiting);
    return new Promise<Session>((resolve, reject) => {
      const settle = (finish: () => void) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', aborted);
        waiting.delete(arrived);
        if (waiting.size === 0 && this.#waiting.get(id) === waiting) this.#waiting.delete(id);
        finish();
      };
      const arrived = (session: Session) => settle(() => resolve(session));
      const aborted = () => settle(() => reject(signal.reason));
      const missing = () => new EngineError('Unavailable', 'SESSION_MISSING', `no active session for ${id.slice(0, 100)}`);
      const timer = setTimeout(() => settle(() => reject(missing())), arrivalMs);
      waiting.add(arrived);
      signal.addEventListener('abort', aborted, { once: true });
    });
  }

  close(): void {
    for (const session of this.#open.values()) session.channel.close();
  }
}
