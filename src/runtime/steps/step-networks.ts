import { randomBytes } from 'node:crypto';
import type { Networks } from '../../network/port.ts';

/** Making a network takes longer than a short step, so one that is free is kept this long for the next. */
const idleMs = 20_000;

type Prepared = {
  id: string;
  netns: string;
  addresses: string[];
  gateway: string | undefined;
  ipv6: boolean;
  dns: string[];
  timer?: NodeJS.Timeout | undefined;
};
export type StepNetwork = Omit<Prepared, 'id' | 'timer'> & { release(): Promise<void> };

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

  /** `alone`: rules will be made in it, so it serves no step after this one. */
  async acquire({ alone = false } = {}): Promise<StepNetwork> {
    const prepared = this.#idle.pop() ?? (await this.#make('bridge'));
    clearTimeout(prepared.timer);
    return { ...prepared, release: () => (alone ? this.#networks.detach(prepared.id) : this.#release(prepared)) };
  }

  /** A namespace with nothing but its loopback, for a step that shares it with services. */
  async acquireEmpty(): Promise<StepNetwork> {
    const prepared = await this.#make('none');
    return { ...prepared, release: () => this.#networks.detach(prepared.id) };
  }

  async #make(network: 'bridge' | 'none'): Promise<Prepared> {
    const id = `step-net-${randomBytes(6).toString('hex')}`;
    const { netns, endpoints } = await this.#networks.attach(id, [{ name: network }], [], { containerName: id, hostname: id });
    return {
      id,
      netns,
      addresses: endpoints.map(({ ipAddress }) => ipAddress).filter((address) => address !== ''),
      gateway: endpoints.find(({ gateway }) => gateway !== '')?.gateway,
      ipv6: endpoints.some(({ ipv6Address }) => ipv6Address !== ''),
      dns: endpoints.flatMap(({ dnsServers }) => dnsServers),
    };
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
