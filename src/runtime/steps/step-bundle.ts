import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { HostConfig } from '../../api-types/container.ts';
import { hostResolvConf } from '../etc-files.ts';
import type { StepProgram, StepRequest } from '../port.ts';
import { findStubs } from '../prepare.ts';
import { buildSpec, encodeSpec, type HostFacts, type NamespaceChoice } from '../spec/build.ts';
import { CdiRegistry } from '../spec/cdi/registry.ts';
import { resolveCommand } from '../spec/command.ts';
import { processEnv } from '../spec/environment.ts';
import { hostsFile, resolvConf } from '../spec/etc-files.ts';
import { InRoot } from '../spec/in-root.ts';
import { fileMount } from '../spec/mounts.ts';
import type { ProcessSpec } from '../spec/types.ts';
import { resolveUser } from '../spec/user.ts';
import { stepResources } from './step-limits.ts';

/** The same in every step, so that a step's output does not depend on it. */
const hostname = 'buildstep';

/** The network of a step and of its services. */
export type StepNet = {
  readonly choice: NamespaceChoice;
  readonly addresses: readonly string[];
  readonly gateway?: string | undefined;
  readonly dns: readonly string[];
  /** Lines of /etc/hosts: those that were asked for, and the services. */
  readonly hosts: readonly { readonly name: string; readonly address: string }[];
  /** Its packets are held to some addresses, so nothing in it may write packets by hand. */
  readonly held: boolean;
};

export type BundleOptions = {
  readonly id: string;
  readonly directory: string;
  readonly cgroupsPath: string;
  readonly facts: HostFacts;
  readonly network: StepNet;
  readonly program: StepProgram & Partial<Pick<StepRequest, 'mounts' | 'insecure' | 'devices'>>;
  readonly tty?: { readonly size: { rows: number; columns: number } | undefined } | undefined;
};

export type Bundle = {
  readonly id: string;
  readonly path: string;
  readonly cgroupsPath: string;
  /** Mount points that were not in the root. */
  readonly stubs: string[];
  readonly process: ProcessSpec;
  readonly remove: () => Promise<void>;
};

/** Writes a runtime bundle for a process: Docker's defaults as for containers. Errors of the command itself have exitCode 126 or 127. */
export async function writeBundle(options: BundleOptions): Promise<Bundle> {
  const { id, network, program, facts, tty } = options;
  const { mounts = [], devices = [] } = program;
  const path = join(options.directory, id);
  await mkdir(path, { recursive: true, mode: 0o700 });
  const remove = () => rm(path, { recursive: true, force: true });
  try {
    const inside = inspect(program, mounts, tty !== undefined);
    const files = ['hosts', 'resolv.conf'].map((name) => ({ source: join(path, name), destination: `/etc/${name}` }));
    const { spec } = buildSpec({
      record: { config: { Hostname: hostname, Tty: tty !== undefined }, hostConfig: hostConfig(options), mounts: [] },
      rootfs: program.rootfs,
      cgroupsPath: options.cgroupsPath,
      facts,
      user: inside.user,
      env: inside.env,
      args: program.args,
      cwd: inside.cwd,
      namespaces: { network: network.choice, pid: 'own', ipc: 'own', uts: 'own' },
      files,
      consoleSize: tty?.size,
      deviceEdits: devices.length === 0 ? [] : await editsOf(devices, facts),
    });
    spec.mounts.push(...mounts.map(({ source, destination, readOnly }) => fileMount(source, posix.resolve('/', destination), readOnly)));
    await Promise.all([
      writeFile(join(path, 'config.json'), encodeSpec(spec), { mode: 0o600 }),
      writeFile(join(path, 'hosts'), hostsText(network)),
      writeFile(join(path, 'resolv.conf'), await resolvText(network)),
    ]);
    const stubs = findStubs(program.rootfs, spec.mounts);
    return { id, path, cgroupsPath: options.cgroupsPath, stubs, process: spec.process, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function editsOf(devices: NonNullable<StepRequest['devices']>, facts: HostFacts) {
  const registry = await CdiRegistry.read(facts.settings.cdiDirectories);
  const known = new Set(registry.names());
  return registry.edits(devices.filter(({ name, required }) => required || known.has(name)).map(({ name }) => name));
}

function hostConfig({ program, network, facts }: BundleOptions): HostConfig {
  return {
    ...stepResources(program.limits, facts),
    ...(program.insecure === true ? { Privileged: true } : {}),
    // A packet socket would pass by the rules.
    ...(network.held ? { CapDrop: ['NET_RAW'] } : {}),
  };
}

function hostsText({ addresses, gateway, hosts, choice }: StepNet): string {
  return hostsFile({
    hostname,
    addresses,
    extraHosts: hosts.map(({ name, address }) => `${name}:${address}`),
    gateway: choice === 'host' ? '127.0.0.1' : gateway,
  });
}

async function resolvText({ choice, dns }: StepNet): Promise<string> {
  const onHost = choice === 'host';
  return resolvConf({ host: await hostResolvConf(onHost), network: [...dns], dns: [], search: [], options: [], keepLoopback: onHost });
}

function inspect(program: StepProgram, mounts: StepRequest['mounts'], tty: boolean) {
  using root = new InRoot(
    program.rootfs,
    mounts.map(({ source, destination }) => ({ source, destination: posix.resolve('/', destination) })),
  );
  const user = resolveUser(root, program.user);
  const env = processEnv({ env: program.env, tty, home: user.home });
  const cwd = posix.normalize(program.workingDir || '/');
  resolveCommand(root, program.args[0] ?? '', env, cwd);
  return { user, env, cwd };
}
