import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync, readdirSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { O, openIn } from '../../kernel/files.ts';
import type { Networks } from '../../network/port.ts';
import { Cgroups } from '../cgroups.ts';
import type { OciRuntime } from '../drivers/oci-runtime.ts';
import { hostResolvConf } from '../etc-files.ts';
import { hostFacts } from '../host-facts.ts';
import type { StepRequest, StepRunner } from '../port.ts';
import { findStubs } from '../prepare.ts';
import { buildSpec, encodeSpec, type HostFacts, type NamespaceChoice } from '../spec/build.ts';
import { resolveCommand } from '../spec/command.ts';
import { processEnv } from '../spec/environment.ts';
import { hostsFile, resolvConf } from '../spec/etc-files.ts';
import { InRoot } from '../spec/in-root.ts';
import { fileMount } from '../spec/mounts.ts';
import { resolveUser } from '../spec/user.ts';
import { StepNetworks } from './step-networks.ts';
import { runStepProcess } from './step-process.ts';

export type StepProcessRunnerOptions = {
  /** With a state folder of its own, apart from that of containers: what is in it after a crash is to be removed. */
  runtime: OciRuntime;
  networks: Pick<Networks, 'attach' | 'detach' | 'attached'>;
  paths: { run: string };
  rootId: string;
  onError?: ((step: string, error: unknown) => void) | undefined;
};

/** The same in every step, so that a step's output does not depend on it. */
const hostname = 'buildstep';

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
    this.#options = options;
    this.#facts = hostFacts(this.#cgroups);
    this.#networks = new StepNetworks(options.networks, (error) => options.onError?.('network', error));
  }

  async run(step: StepRequest): Promise<{ exitCode: number; stubs: string[] }> {
    step.signal?.throwIfAborted();
    const id = `step-${randomBytes(8).toString('hex')}`;
    const bundle = join(this.#directory, id);
    await mkdir(bundle, { recursive: true, mode: 0o700 });
    await using cleanup = new AsyncDisposableStack();
    cleanup.defer(() => rm(bundle, { recursive: true, force: true }));
    const network = step.network === 'default' ? await this.#networks.acquire() : undefined;
    if (network) cleanup.defer(() => network.release());
    const stubs = await this.#writeBundle(step, id, bundle, network);
    const exitCode = await this.#execute(step, id, bundle);
    return { exitCode, stubs: stillStubs(step.rootfs, stubs) };
  }

  async #execute(step: StepRequest, id: string, bundle: string): Promise<number> {
    const { runtime } = this.#options;
    const files = { bundle, pidFile: join(bundle, 'pid') };
    const result = await runStepProcess(runtime.command, runtime.runArguments(id, files), {
      ...files,
      onOutput: step.onOutput,
      signal: step.signal,
    });
    if (!result.clean) await this.#remove(id);
    step.signal?.throwIfAborted();
    if (result.failure !== undefined)
      throw new EngineError('Internal', 'STEP_FAILED', `the build step cannot be started: ${result.failure}`);
    return result.exitCode;
  }

  /** Answers the mount points that are not in the root. */
  async #writeBundle(
    step: StepRequest,
    id: string,
    bundle: string,
    network: { netns: string; addresses: string[]; dns: string[] } | undefined,
  ): Promise<string[]> {
    const inside = inspect(step);
    const onHost = step.network === 'host';
    const resolv = resolvConf({
      host: await hostResolvConf(onHost),
      network: network?.dns ?? [],
      dns: [],
      search: [],
      options: [],
      keepLoopback: onHost,
    });
    const hosts = hostsFile({ hostname, addresses: network?.addresses ?? [], extraHosts: [] });
    const choice: NamespaceChoice = onHost ? 'host' : network ? { path: network.netns } : 'own';
    const { spec } = buildSpec({
      record: { config: { Hostname: hostname }, hostConfig: {}, mounts: [] },
      rootfs: step.rootfs,
      cgroupsPath: `/slipway-${this.#options.rootId}/${id}`,
      facts: this.#facts,
      user: inside.user,
      env: inside.env,
      args: step.args,
      cwd: inside.cwd,
      namespaces: { network: choice, pid: 'own', ipc: 'own', uts: 'own' },
      files: ['hosts', 'resolv.conf'].map((name) => ({ source: join(bundle, name), destination: `/etc/${name}` })),
    });
    spec.mounts.push(
      ...step.mounts.map(({ source, destination, readOnly }) => fileMount(source, posix.resolve('/', destination), readOnly)),
    );
    await Promise.all([
      writeFile(join(bundle, 'config.json'), encodeSpec(spec), { mode: 0o600 }),
      writeFile(join(bundle, 'hosts'), hosts),
      writeFile(join(bundle, 'resolv.conf'), resolv),
    ]);
    return findStubs(step.rootfs, spec.mounts);
  }

  async #remove(id: string): Promise<void> {
    await this.#options.runtime.delete(id, { force: true });
    await this.#cgroups.remove(`/slipway-${this.#options.rootId}/${id}`);
  }

  /** After an engine's start: ends and removes steps that a crash left. */
  async recover(): Promise<void> {
    const parent = `/slipway-${this.#options.rootId}`;
    const groups = (await this.#cgroups.list(parent)).filter((name) => name.startsWith('step-'));
    const left = new Set([...(await namesIn(this.#options.runtime.root)), ...groups]);
    for (const id of left) await this.#remove(id).catch((error) => this.#options.onError?.(id, error));
    await rm(this.#directory, { recursive: true, force: true });
    await this.#networks.recover();
  }

  async close(): Promise<void> {
    await this.#networks.close();
    await this.#cgroups.removeEmpty(`/slipway-${this.#options.rootId}`);
  }

  get #directory(): string {
    return join(this.#options.paths.run, 'steps');
  }
}

function inspect(step: StepRequest) {
  using root = new InRoot(
    step.rootfs,
    step.mounts.map(({ source, destination }) => ({ source, destination: posix.resolve('/', destination) })),
  );
  const user = resolveUser(root, step.user);
  const env = processEnv({ env: step.env, tty: false, home: user.home });
  const cwd = posix.normalize(step.workingDir || '/');
  resolveCommand(root, step.args[0] ?? '', env, cwd);
  return { user, env, cwd };
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
