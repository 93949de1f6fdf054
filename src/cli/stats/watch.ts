import type { ContainerSummary } from '../../api-types/container-inspect.ts';
import type { EventMessage } from '../../api-types/events.ts';
import type { StatsResponse } from '../../api-types/stats.ts';
import { EngineError } from '../../base/errors.ts';
import { type EngineClient, route } from '../client/client.ts';
import { jsonLines } from '../client/lines.ts';
import type { Row } from '../format/listing.ts';
import { emptyRow, statsRow } from './row.ts';

type Options = { all: boolean; full: boolean };

/** The newest reading of each container that is watched, in the order in which they came. */
export class StatsWatch {
  readonly #client: EngineClient;
  readonly #options: Options;
  readonly #rows = new Map<string, Row>();

  constructor(client: EngineClient, options: Options) {
    this.#client = client;
    this.#options = options;
  }

  get rows(): Row[] {
    return [...this.#rows.values()];
  }

  /** One reading of each; a name that nobody has is an error, a container that vanishes from a listing is not. */
  async once(names: readonly string[]): Promise<void> {
    const containers = names.length > 0 ? names : await this.#listed();
    await Promise.all(
      containers.map(async (container) => {
        this.#rows.set(container, emptyRow(container));
        try {
          const stats = await this.#client.get<StatsResponse>(route`/containers/${container}/stats`, { stream: 0 });
          this.#rows.set(container, statsRow(container, stats, this.#options.full));
        } catch (error) {
          this.#rows.delete(container);
          if (names.length > 0 || !isMissing(error)) throw error;
        }
      }),
    );
  }

  /**
   * Follows the named ones, or those that run (with `all`: that there are) now and from now on. Calls back with every reading. Ends when all that were named
   * have gone, or the daemon.
   */
  async follow(names: readonly string[], onFirst: () => void): Promise<void> {
    if (names.length > 0) {
      const followed = names.map((name) => this.#followOne(name));
      onFirst();
      await Promise.all(followed);
      return;
    }
    // Told of before listed: what starts in between must not be missed.
    const filters = JSON.stringify({ type: ['container'] });
    const response = await this.#client.call('GET', '/events', { query: { filters } });
    for (const container of await this.#listed()) void this.#followOne(container).catch(ignoreMissing);
    onFirst();
    const { all } = this.#options;
    for await (const event of jsonLines<EventMessage>(response)) {
      const { ID: id } = event.Actor;
      if (event.Action === 'start' || (all && event.Action === 'create')) void this.#followOne(id).catch(ignoreMissing);
      else if (event.Action === 'destroy' || (!all && event.Action === 'die')) this.#rows.delete(id);
    }
  }

  async #followOne(container: string): Promise<void> {
    if (this.#rows.has(container)) return;
    this.#rows.set(container, emptyRow(container));
    try {
      const response = await this.#client.call('GET', route`/containers/${container}/stats`, { query: { stream: 1 } });
      for await (const stats of jsonLines<StatsResponse>(response)) {
        if (!this.#rows.has(container)) break;
        this.#rows.set(container, statsRow(container, stats, this.#options.full));
      }
    } finally {
      this.#rows.delete(container);
    }
  }

  async #listed(): Promise<string[]> {
    const containers = await this.#client.get<ContainerSummary[]>('/containers/json', { all: this.#options.all ? 1 : undefined });
    return containers.map(({ Id: id }) => id);
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof EngineError && (error.kind === 'NotFound' || error.kind === 'Conflict');
}

function ignoreMissing(error: unknown): void {
  // The daemon's end is told by the stream of events.
  if (!isMissing(error) && !(error instanceof EngineError && /^(?:ANSWER_CUT|DAEMON_)/.test(error.code))) throw error;
}
