import type { Duplex } from 'node:stream';
import type { StepDebugger } from './debug.ts';

/** Where build steps get secrets from. Values stay in memory: they are in no key, no tree, no log and no event. */
export interface SecretSource {
  /** The value, or undefined when there is none of that id. Asked for only when a step that wants it is about to run. */
  get(id: string): Promise<Uint8Array | undefined>;
}

/** Where build steps get ssh agents from. */
export interface SshAgents {
  /** A new connection to the agent, or undefined when there is none of that id. The caller ends it. */
  connect(id: string): Promise<Duplex | undefined>;
}

/** What one build brings. */
export type SecretProviders = {
  readonly secrets?: SecretSource | undefined;
  readonly ssh?: SshAgents | undefined;
  /** Told of steps that failed. */
  readonly debug?: StepDebugger | undefined;
};

/** What BuildKit allows too. */
export const secretLimitBytes = 500 * 1024;

/** Secrets that came with a request. */
export class GivenSecrets implements SecretSource {
  readonly #values: ReadonlyMap<string, Uint8Array>;

  constructor(values: Iterable<readonly [id: string, value: Uint8Array]>) {
    this.#values = new Map(values);
  }

  async get(id: string): Promise<Uint8Array | undefined> {
    return this.#values.get(id);
  }

  /** Keeps the values out of anything that prints the request. */
  toJSON(): string[] {
    return [...this.#values.keys()];
  }
}
