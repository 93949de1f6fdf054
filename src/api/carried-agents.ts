import type { Duplex } from 'node:stream';
import { EngineError } from '../base/errors.ts';

/** How long a step waits for a connection: the client opens the next one when it sees that one is taken. */
const arrivalMs = 10_000;
/** Connections that wait for a step, of one client. */
const mostWaiting = 8;

type Line = { readonly waiting: Set<Duplex>; readonly arrivals: Set<(socket: Duplex) => void> };

/** Connections that clients hold open to their ssh agents (docs/formats/build-context.md, "ssh agents"), by the name that the client gave them. Each serves one connection of a step. */
export class CarriedAgents {
  readonly #lines = new Map<string, Line>();

  /** Waits with the connection until a step takes it, or it closes. */
  offer(name: string, socket: Duplex): void {
    const line = this.#line(name);
    const [arrival] = line.arrivals;
    if (arrival !== undefined) {
      arrival(socket);
      return;
    }
    if (line.waiting.size >= mostWaiting) {
      socket.destroy();
      return;
    }
    line.waiting.add(socket);
    socket.once('close', () => {
      line.waiting.delete(socket);
      this.#tidy(name, line);
    });
  }

  /** Unavailable `SSH_AGENT_GONE` when none comes. */
  async connect(name: string): Promise<Duplex> {
    const line = this.#line(name);
    const [waiting] = line.waiting;
    if (waiting !== undefined) {
      line.waiting.delete(waiting);
      this.#tidy(name, line);
      return waiting;
    }
    return new Promise<Duplex>((resolve, reject) => {
      const settle = (finish: () => void) => {
        clearTimeout(timer);
        line.arrivals.delete(arrived);
        this.#tidy(name, line);
        finish();
      };
      const arrived = (socket: Duplex) => settle(() => resolve(socket));
      const gone = new EngineError('Unavailable', 'SSH_AGENT_GONE', "the client's ssh agent cannot be reached any more");
      const timer = setTimeout(() => settle(() => reject(gone)), arrivalMs);
      line.arrivals.add(arrived);
    });
  }

  #line(name: string): Line {
    const line = this.#lines.get(name) ?? { waiting: new Set(), arrivals: new Set() };
    this.#lines.set(name, line);
    return line;
  }

  #tidy(name: string, line: Line): void {
    if (line.waiting.size === 0 && line.arrivals.size === 0 && this.#lines.get(name) === line) this.#lines.delete(name);
  }
}
