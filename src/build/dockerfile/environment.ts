import type { Environment } from './expand.ts';

/** Variables in the order in which they were last set. Copies are cheap and independent. */
export class Variables implements Environment {
  readonly #values: Map<string, string>;

  constructor(values: Iterable<readonly [string, string]> = []) {
    this.#values = new Map(values);
  }

  static fromList(list: readonly string[]): Variables {
    return new Variables(
      list.map((item) => {
        const equals = item.indexOf('=');
        return equals < 0 ? [item, ''] : [item.slice(0, equals), item.slice(equals + 1)];
      }),
    );
  }

  get(name: string): string | undefined {
    return this.#values.get(name);
  }

  set(name: string, value: string): void {
    this.#values.delete(name);
    this.#values.set(name, value);
  }

  copy(): Variables {
    return new Variables(this.#values);
  }

  names(): IterableIterator<string> {
    return this.#values.keys();
  }

  sorted(): [string, string][] {
    return [...this.#values].sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

const proxyNames = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'];

/**
 * Proxy settings among the build arguments (Dockerfile reference, "Predefined ARGs"): every RUN sees them, in both cases, without an ARG, and
 * they are neither in the image nor in a key.
 */
export function proxyVariables(buildArgs: Readonly<Record<string, string>>): Variables {
  const result = new Variables();
  for (const name of Object.keys(buildArgs).sort()) {
    if (!proxyNames.includes(name.toUpperCase())) continue;
    const value = buildArgs[name] ?? '';
    result.set(name.toUpperCase(), value);
    result.set(name.toLowerCase(), value);
  }
  return result;
}
