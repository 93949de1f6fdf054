import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync, readdirSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { O, openIn } from '../../kernel/files.ts';
import { adoptOrphans } from '../../kernel/orphans.ts';
import type { Networks, NetworkWatch, NetworkWatches } from '../../network/port.ts';
import { Cgroups } from '../cgroups.ts';
import type { OciRuntime } from '../drivers/oci-runtime.ts';
import { hostFacts } from '../host-facts.ts';
import type { StepProgram, StepRequest, StepResult, StepRunner, StepShell, StepShellOptions } from '../port.ts';
import type { HostFacts } from '../spec/build.ts';
import { type Bundle, type StepNet, writeBundle } from './step-bundle.ts';
import { type End, outputPipes, removeContainer, StepContainer } from './step-container.ts';
import { type StepNetwork, StepNetworks } from './step-networks.ts';
import { runStepProcess } from './step-process.ts';
import { startServices } from './step-services.ts';
import { startShell } from './step-shell.ts';

export type StepProcessRunnerOptions = {
  /** With a state folder of its own, apart from that of containers: what is in it after a crash is to be removed. */
  runtime: OciRuntime;
  networks: Pick<Networks, 'attach' | 'detach' | 'attached'>;
  /** Without one, steps cannot be held to names of hosts. */
  watches?: NetworkWatches | undefined;
  paths: { run: string };
  rootId: string;
  onError?: ((step: string, error: unknown) => void) | undefined;
};

/**
 * Build steps as processes: the runtime runs them in the foreground, without a monitor, since a step that outlives the engine is of no use. Docker's
 * defaults apply as to containers, the network included (a bridge), but for the init: a step ends with its process.
 */
export class StepProcessRunner implements StepRunner {
  readonly #options: StepProcessRunnerOptions;
  readonly #cgroups = new Cgroups();
  readonly #facts: HostFacts;
  readonly #networks: StepNetworks;

  constructor(options: StepProcessRunnerOptions) {
    adoptOrphans();
    this.#options = options;
    this.#facts = hostFacts(this.#cgroups);
    this.#networks = new StepNetworks(options.networks, (error) => options.onError?.('network', error));
  }

  async run(step: StepRequest): Promise<StepResult> {
    step.signal?.throwIfAborted();
    this.#refuse(step);
    await using cleanup = new AsyncDisposableStack();
    const { net, watch } = await this.#network(step, cleanup);
    const bundleOf = (program: StepProgram, tty?: { size: StepShellOptions['size'] }) => this.#bundle(program, net, tty);
    const parts = { runtime: this.#options.runtime, cgroups: this.#cgroups };
    const { services = [], signal, onOutput } = step;
    // Made before the services are started: what is wrong with the step itself needs none of them.
    const bundle = await bundleOf(step);
    cleanup.defer(() => bundle.remove());
    await startServices(services, { ...parts, writeBundle: (service) => bundleOf(service), onOutput, signal }, cleanup);
    step.signal?.throwIfAborted();
    const end = await this.#execute(step, bundle);
    if (end.exitCode !== 0 && step.onFailure !== undefined) await this.#offer(step, end.exitCode, bundleOf, cleanup);
    return {
      ...end,
      stubs: stillStubs(step.rootfs, bundle.stubs),
      ...(watch === undefined ? {} : { traffic: await watch.traffic(), refusedHosts: [...watch.refused] }),
    };
  }

  /** What cannot be held is refused, and not left out. */
  #refuse({ allowedHosts, recordTraffic, network, insecure }: StepRequest): void {
    if (allowedHosts === undefined && recordTraffic !== true) return;
    const cannot = (why: string, hint: string) =>
      new EngineError('Unsupported', 'ALLOWED_HOSTS_UNSUPPORTED', `a step cannot be held to names of hosts ${why}`, { hint });
    if (allowedHosts !== undefined && network === 'host')
      throw cannot("on the host's network, whose rules are not the engine's to make", 'Use the default network for this step.');
    if (allowedHosts !== undefined && insecure === true)
      throw cannot('with the rights to change the rules that hold it', 'Leave out --security=insecure, or the list of hosts.');
    if (allowedHosts !== undefined && network === 'default' && this.#options.watches === undefined)
      throw cannot('here: the engine was set up without a packet filter', 'Leave the list of hosts out.');
  }

  async #network(step: StepRequest, cleanup: AsyncDisposableStack): Promise<{ net: StepNet; watch: NetworkWatch | undefined }> {
    const { allowedHosts, recordTraffic = false, services = [] } = step;
    const own = services.map(({ name }) => ({ name, address: '127.0.0.1' }));
    const hosts = [...(step.hosts ?? []), ...own];
    if (step.network === 'host') return { net: plainNet('host', hosts), watch: undefined };
    if (step.network === 'none' && services.length === 0) return { net: plainNet('own', hosts), watch: undefined };
    const watches = step.network === 'default' && (allowedHosts !== undefined || recordTraffic) ? this.#options.watches : undefined;
    const network: StepNetwork =
      step.network === 'none' ? await this.#networks.acquireEmpty() : await this.#networks.acquire({ alone: watches !== undefined });
    cleanup.defer(() => network.release());
    const { netns, addresses, gateway, ipv6 } = network;
    const known = hosts.map(({ name, address }) => ({ name, address: address === 'host-gateway' ? (gateway ?? '') : address }));
    const watch = await watches?.open(netns, { allowed: allowedHosts, known, ipv6 });
    if (watch !== undefined) cleanup.defer(() => watch.close());
    const dns = watch === undefined ? network.dns : [watch.dnsServer];
    return { net: { choice: { path: netns }, addresses, gateway, dns, hosts, held: allowedHosts !== undefined }, watch };
  }

  #bundle(program: StepProgram, network: StepNet, tty?: { size: StepShellOptions['size'] }): Promise<Bundle> {
    const id = `step-${randomBytes(8).toString('hex')}`;
    return writeBundle({ id, directory: this.#directory, cgroupsPath: this.#groupOf(id), facts: this.#facts, network, program, tty });
  }

  /** In the foreground, which costs one program less; where the control group is to be asked afterwards, beside it. */
  async #execute(step: StepRequest, bundle: Bundle): Promise<End> {
    const end = step.limits?.memoryBytes ? await this.#executeAsked(step, bundle) : await this.#executeForeground(step, bundle);
    step.signal?.throwIfAborted();
    return end;
  }

  async #executeForeground(step: StepRequest, { id, path, cgroupsPath }: Bundle): Promise<End> {
    const { runtime } = this.#options;
    const files = { bundle: path, pidFile: join(path, 'pid') };
    const result = await runStepProcess(runtime.command, runtime.runArguments(id, files), {
      ...files,
      onOutput: step.onOutput,
      signal: step.signal,
    });
    if (!result.clean) await removeContainer(id, cgroupsPath, { runtime, cgroups: this.#cgroups });
    step.signal?.throwIfAborted();
    if (result.failure !== undefined)
      throw new EngineError('Internal', 'STEP_FAILED', `the build step cannot be started: ${result.failure}`);
    return { exitCode: result.exitCode, memoryKills: 0 };
  }

  async #executeAsked(step: StepRequest, bundle: Bundle): Promise<End> {
    const pipes = outputPipes(step.onOutput);
    const parts = { runtime: this.#options.runtime, cgroups: this.#cgroups };
    const container = await StepContainer.start(bundle, parts, ['ignore', ...pipes.child]).finally(() => pipes.handOver());
    const kill = () => container.kill();
    step.signal?.addEventListener('abort', kill);
    if (step.signal?.aborted) kill();
    try {
      const end = await container.ended;
      await pipes.ended;
      return end;
    } finally {
      step.signal?.removeEventListener('abort', kill);
      await container.remove();
    }
  }

  /** Shells in the failed step, one after the other, until whoever was told has seen enough. */
  async #offer(
    step: StepRequest,
    exitCode: number,
    bundleOf: (program: StepProgram, tty: { size: StepShellOptions['size'] } | undefined) => Promise<Bundle>,
    cleanup: AsyncDisposableStack,
  ): Promise<void> {
    const parts = { runtime: this.#options.runtime, cgroups: this.#cgroups };
    const open = async (options: StepShellOptions): Promise<StepShell> => {
      const bundle = await bundleOf({ ...step, args: options.args }, options.tty ? { size: options.size } : undefined);
      cleanup.defer(() => bundle.remove());
      return startShell(bundle, options, parts, cleanup);
    };
    await step.onFailure?.({ exitCode, open });
  }

  /** After an engine's start: ends and removes steps that a crash left. */
  async recover(): Promise<void> {
    const parent = `/slipway-${this.#options.rootId}`;
    const groups = (await this.#cgroups.list(parent)).filter((name) => name.startsWith('step-'));
    const left = new Set([...(await namesIn(this.#options.runtime.root)), ...groups]);
    const parts = { runtime: this.#options.runtime, cgroups: this.#cgroups };
    // Side by side: whoever inherited their processes reaps them in its own time.
    const removals = [...left].map((id) =>
      removeContainer(id, this.#groupOf(id), parts).catch((error) => this.#options.onError?.(id, error)),
    );
    await Promise.all(removals);
    await rm(this.#directory, { recursive: true, force: true });
    await this.#networks.recover();
  }

  async close(): Promise<void> {
    await this.#networks.close();
    await this.#cgroups.removeEmpty(`/slipway-${this.#options.rootId}`);
  }

  #groupOf(id: string): string {
    return `/slipway-${this.#options.rootId}/${id}`;
  }

  get #directory(): string {
    return join(this.#options.paths.run, 'steps');
  }
}

function plainNet(choice: 'host' | 'own', hosts: StepNet['hosts']): StepNet {
  return { choice, addresses: [], dns: [], hosts, held: false };
}

/**
 * What was made for a mount point stays out of the tree only while it is as it was made: an empty file, or a folder with nothing of the step's in it. What a
 * step has put in its place, such as a symlink, is the step's own. Nothing is removed, and no link followed.
 */
function stillStubs(rootfs: string, stubs: readonly string[]): string[] {
  const root = openSync(rootfs, O.PATH | O.DIRECTORY | O.CLOEXEC);
  try {
    const kept = new Set(stubs);
    // What is below first: a folder is one only when all in it are.
    for (const path of [...stubs].sort((a, b) => b.length - a.length)) if (!isAsMade(root, path, kept)) kept.delete(path);
    return [...kept].sort();
  } finally {
    closeSync(root);
  }
}

function isAsMade(root: number, path: string, stubs: ReadonlySet<string>): boolean {
  let fd: number;
  try {
    fd = openIn(root, path, O.PATH | O.NOFOLLOW);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return false;
    throw error;
  }
  try {
    const stats = fstatSync(fd);
    if (!stats.isDirectory()) return stats.isFile() && stats.size === 0;
    return readdirSync(`/proc/self/fd/${fd}`).every((name) => stubs.has(`${path}/${name}`));
  } finally {
    closeSync(fd);
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}
