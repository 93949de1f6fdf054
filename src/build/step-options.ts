import { nearest } from '../base/nearest.ts';
import type { RunOperation } from './graph/vertex.ts';
import type { BuildRequest } from './port.ts';

/** What a request says of steps that its definition names, or of all. Frontends put it into vertices. */
export type StepOptions = {
  readonly noCache: boolean;
  readonly noCacheFilter?: BuildRequest['noCacheFilter'];
  readonly cacheTtls?: BuildRequest['cacheTtls'];
  readonly invalidateSecrets?: BuildRequest['invalidateSecrets'];
  /** For every process of the build, where the step does not say otherwise. */
  readonly processes?: Pick<RunOperation, 'hosts' | 'limits' | 'allowedHosts'>;
};

export function stepOptionsOf(request: BuildRequest): StepOptions {
  const { noCache, noCacheFilter, cacheTtls, invalidateSecrets, extraHosts: hosts, limits, allowedHosts } = request;
  return { noCache, noCacheFilter, cacheTtls, invalidateSecrets, processes: { hosts, limits, allowedHosts } };
}

/**
 * `--no-cache-filter` and `--cache-ttl`, which name stages or steps: whatever their case, as BuildKit has it. A stage or step may have several names. Remembers which of the names were meant.
 */
export class CacheRules {
  readonly #noCache: boolean;
  readonly #filter: readonly string[];
  readonly #ttls: readonly { name: string | undefined; ms: number }[];
  readonly #met = new Set<string>();

  constructor({ noCache, noCacheFilter = [], cacheTtls = [] }: Pick<StepOptions, 'noCache' | 'noCacheFilter' | 'cacheTtls'>) {
    this.#noCache = noCache;
    this.#filter = noCacheFilter.map((name) => name.toLowerCase());
    this.#ttls = cacheTtls.map(({ name, ms }) => ({ name: name?.toLowerCase(), ms }));
  }

  noCache(names: readonly string[]): boolean {
    const meant = this.#meant(names, this.#filter);
    return this.#noCache || meant;
  }

  /** The last one that names it counts, or else the last one without a name. */
  ttlMs(names: readonly string[]): number | undefined {
    this.#meant(
      names,
      this.#ttls.flatMap(({ name }) => (name === undefined ? [] : [name])),
    );
    const own = this.#ttls.findLast(({ name }) => name !== undefined && names.some((each) => each.toLowerCase() === name));
    return (own ?? this.#ttls.findLast(({ name }) => name === undefined))?.ms;
  }

  /** Names that neither are among `known` nor were asked about, for a warning. */
  unknown(known: readonly string[]): string[] {
    const lower = new Set(known.map((name) => name.toLowerCase()));
    const given = [...this.#filter, ...this.#ttls.flatMap(({ name }) => (name === undefined ? [] : [name]))];
    const strange = [...new Set(given)].filter((name) => !this.#met.has(name) && !lower.has(name));
    return strange.map((name) => {
      const meant = nearest(name, known);
      return `--no-cache-filter and --cache-ttl: there is no ${name}${meant === undefined ? '' : `. Did you mean ${meant}?`}`;
    });
  }

  #meant(names: readonly string[], wanted: readonly string[]): boolean {
    const met = names.map((name) => name.toLowerCase()).filter((name) => wanted.includes(name));
    for (const name of met) this.#met.add(name);
    return met.length > 0;
  }
}
