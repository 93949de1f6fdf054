import { randomBytes } from 'node:crypto';
import type { Networks } from '../../network/port.ts';

/** Making a network takes longer than a short step, so one that is free is kept this long for the next. */
const idleMs = 20_000;

type Prepared = { id: string; netns: string; addresses: string[]; dns: string[]; timer?: NodeJS.Timeout | undefined };
export type StepNetwork = Pick<Prepared, 'netns' | 'addresses' | 'dns'> & { release(): Promise<void> };

/**
 * Network namespaces on the default bridge for build steps. A step's processes are gone before its namespace serves another; steps at
 * the same time have one each.
 */
export class StepNetworks {
  readonly #networks: Pick<Networks, 'attach' | 'detach' | 'attached'>;
  readonly #onError: (error: unknown) => void;
  readonly #idle: Prepared[] = [];
  #closed = false;

  constructor(networks: Pick<Networks, 'attach' | 'detach' | 'attached'>, onError: (error: unknown) => void) {
    this.#networks = networks;
    this.#onError = onError;
  }

  async acquire(): Promise<StepNetwork> {
    const prepared = this.#idle.pop() ?? (await this.#make());
    clearTimeout(prepared.timer);
    const { netns, addresses, dns } = prepared;
    return { netns, addresses, dns, release: () => this.#release(prepared) };
  }

  async #make(): Promise<Prepared> {
    const id = `step-net-${randomBytes(6).toString('hex')}`;
    const { netns, endpoints } = await this.#networks.attach(id, [{ name: 'bridge' }], [], { containerName: id, hostname: id });
    return { id, netns, addresses: endpoints.map(({ ipAddress }) => ipAddress), dns: endpoints.flatMap(({ dnsServers }) => dnsServers) };
  }

  async #release(prepared: Prepared): Promise<void> {
    if (this.#closed) return this.#networks.detach(prepared.id);
    prepared.timer = setTimeout(() => {
      this.#idle.splice(this.#idle.indexOf(prepared), 1);
      this.#networks.detach(prepared.id).catch(this.#onError);
    }, idleMs);
    prepared.timer.unref();
    this.#idle.push(prepared);
  }

  /** Takes away what an earlier engine left. */
  async recover(): Promise<void> {
    for (const id of await this.#networks.attached()) if (id.startsWith('step-net-')) await this.#networks.detach(id).catch(this.#onError);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { id, timer } of this.#idle.splice(0)) {
      clearTimeout(timer);
      await this.#networks.detach(id).catch(this.#onError);
    }
  }
}
