import { type CgroupDriver, cgroupItems, chooseCgroupDriver, readCgroups } from './cgroups.ts';
import { crunPrefix, objectionToCrun } from './crun.ts';
import { type Kernel, kernelItems, readKernel, supportsErofsOverlay } from './kernel.ts';
import { type Program, probeProgram, programItem, runProgram } from './programs.ts';
import { type Choice, type HostItem, type HostReport, isReady } from './report.ts';
import { chooseAppArmor, chooseDevices, limitItems, securityItems } from './security.ts';
import { storageItems } from './storage.ts';
import { chooseUserNamespaces, type Remap } from './userns.ts';

export type InspectOptions = {
  root: string;
  run: string;
  /** What the daemon mounted trees with when it tried; else the kernel's features tell what it would choose. */
  snapshotter?: Choice | undefined;
  /** Of the configuration; wins over what is found. */
  defaultRuntime?: string | undefined;
  runtimes?: Readonly<Record<string, { path: string }>> | undefined;
  /** Of the configuration. */
  cgroupDriver?: CgroupDriver | 'auto' | undefined;
  usernsRemap?: string | undefined;
  cdiDirs?: readonly string[] | undefined;
  /** What the daemon made of `usernsRemap`. */
  remap?: Remap | undefined;
  /** Paths of the configuration, by program name; the init's under `catatonit`. */
  paths?: Readonly<Record<string, string | undefined>> | undefined;
};

const names = ['runc', 'crun', 'conmon', 'catatonit', 'tini', 'aardvark-dns', 'iptables', 'mmdebstrap'] as const;
type Programs = Record<(typeof names)[number], Program>;

/** Looks at what this host offers, changes nothing, and needs neither the daemon nor root. Takes about 50 ms. */
export async function inspectHost(options: InspectOptions): Promise<HostReport> {
  const kernel = readKernel();
  const cgroups = readCgroups();
  const privileged = process.getuid?.() === 0;
  const programs = await probeAll(options);
  if (privileged && programs.iptables.version !== undefined) programs.iptables = await probeNat(programs.iptables);
  const runtime = await chooseRuntime(programs, options);
  const init = chooseInit(programs, options);
  const network = chooseNetwork(programs);
  const items: HostItem[] = [
    ...kernelItems(kernel),
    ...storageItems(options.root, options.run),
    ...cgroupItems(cgroups),
    ...securityItems(),
    ...limitItems(privileged),
    ...programItems(programs, runtime, init, network),
  ];
  return {
    ready: isReady(items),
    root: options.root,
    run: options.run,
    privileged,
    unknown: privileged ? [] : unknownWithoutRoot,
    choices: {
      runtime,
      cgroupDriver: chooseCgroupDriver(cgroups, options.cgroupDriver),
      snapshotter: options.snapshotter ?? guessSnapshotter(kernel),
      network,
      init,
      userNamespaces: chooseUserNamespaces(options.usernsRemap, options.remap),
      appArmor: chooseAppArmor(),
      devices: chooseDevices(options.cdiDirs ?? ['/etc/cdi', '/var/run/cdi']),
    },
    items,
  };
}

const unknownWithoutRoot = [
  'whether mounting an image works here, and whether iptables has NAT: both are only told to root.',
  'which capabilities and limits root has on this host.',
  'The engine itself must run as root: it mounts file systems, makes namespaces and changes the firewall. Clients need no root, only membership of its group.',
];

async function probeAll({ paths = {} }: InspectOptions): Promise<Programs> {
  const flags: Partial<Record<string, string>> = { ip: '-V' };
  const probed = await Promise.all(names.map((name) => probeProgram(name, { versionFlag: flags[name] ?? '--version', path: paths[name] })));
  return Object.fromEntries(probed.map((program) => [program.name, program])) as Programs;
}

/** A program that is there, on a kernel without what it drives: only a table's listing tells. */
async function probeNat(iptables: Program): Promise<Program> {
  const listing = await runProgram(iptables.path ?? 'iptables', ['-t', 'nat', '-S', 'POSTROUTING']);
  return listing.ok ? iptables : { ...iptables, version: undefined, output: listing.output };
}

async function chooseRuntime(programs: Programs, options: InspectOptions): Promise<Choice> {
  const { defaultRuntime, runtimes = {} } = options;
  if (defaultRuntime !== undefined) {
    const configured = runtimes[defaultRuntime];
    const program = configured === undefined ? programs[defaultRuntime as 'runc' | 'crun'] : await probeProgram(defaultRuntime, configured);
    if (program?.version === undefined)
      return { name: undefined, why: `the configuration names ${defaultRuntime}, which is not there or does not run` };
    return { name: defaultRuntime, why: 'the configuration names it' };
  }
  const { runc, crun } = programs;
  const objection = crun.version === undefined ? 'it is not installed' : objectionToCrun(crun.version, crunPrefix());
  if (objection === undefined)
    return { name: 'crun', why: `it makes a container in a quarter of the time that runc takes${besideUnified()}` };
  if (runc.version !== undefined) return { name: 'runc', why: `crun is quicker, but ${objection}` };
  return { name: undefined, why: `runc is not installed; nor can crun be used: ${objection}` };
}

function besideUnified(): string {
  return (crunPrefix() ?? []).length === 0 ? '' : '; with the v2 hierarchy, which it does not take beside v1, hidden from it';
}

function chooseInit({ catatonit, tini }: Programs, { paths = {} }: InspectOptions): Choice {
  if (paths.catatonit !== undefined) return { name: paths.catatonit, why: 'the configuration names it' };
  if (catatonit.version !== undefined)
    return { name: 'catatonit', why: 'a static program that reaps orphans and passes signals on in containers' };
  if (tini.version !== undefined)
    return { name: undefined, why: 'catatonit is not installed; tini is there but is not what the engine is tested with' };
  return { name: undefined, why: 'catatonit is not installed: containers have no init, and orphans in them may pile up' };
}

function chooseNetwork({ iptables, 'aardvark-dns': dns }: Programs): Choice {
  if (iptables.version === undefined) return { name: 'host and none', why: 'bridges need iptables' };
  return {
    name: 'bridge',
    why:
      dns.version === undefined
        ? 'without names on user-defined networks: aardvark-dns is missing'
        : 'with names on user-defined networks by aardvark-dns',
  };
}

function guessSnapshotter(kernel: Kernel): Choice {
  if (supportsErofsOverlay(kernel))
    return { name: 'erofs-overlay', why: 'the kernel mounts a whole image as one read-only layer over the object store' };
  return {
    name: 'hardlink-overlay',
    why: 'the kernel does not mount EROFS images from files (Linux 6.12), so trees are checked out as hard links',
  };
}

function programItems(programs: Programs, runtime: Choice, init: Choice, network: Choice): HostItem[] {
  const { runc, crun, conmon, catatonit, iptables, mmdebstrap } = programs;
  const backend = /\((nf_tables|legacy)\)/.exec(iptables.output)?.[1];
  const bridges = 'Without it there are no bridge networks and no published ports: --network host and none work.';
  const mark = (item: HostItem, chosen: boolean): HostItem => (chosen ? { ...item, chosen } : item);
  return [
    mark(
      programItem(runc, { purpose: 'An OCI runtime starts containers.', required: runtime.name === undefined, debianPackage: 'runc' }),
      runtime.name === 'runc',
    ),
    mark(crunItem(crun), runtime.name === 'crun'),
    programItem(conmon, {
      purpose: "It holds a container's output and exit status while the daemon is away.",
      required: true,
      debianPackage: 'conmon',
    }),
    mark(
      programItem(catatonit, { purpose: 'Without it containers have no init: orphans in them may pile up.', debianPackage: 'catatonit' }),
      init.name === 'catatonit',
    ),
    programItem(programs['aardvark-dns'], {
      purpose: 'Without it containers do not find each other by name.',
      debianPackage: 'aardvark-dns',
    }),
    mark(programItem(iptables, { purpose: bridges, debianPackage: 'iptables', detail: backend }), network.name === 'bridge'),
    programItem(mmdebstrap, { purpose: '"slipway bootstrap" and "slipway demo" make Debian bases with it.', debianPackage: 'mmdebstrap' }),
  ];
}

function crunItem(crun: Program): HostItem {
  const item = programItem(crun, { purpose: 'The quicker OCI runtime; without it runc starts containers.', debianPackage: 'crun' });
  const objection = item.status === 'ok' ? objectionToCrun(crun.version, crunPrefix()) : undefined;
  return objection === undefined ? item : { ...item, status: 'unsupported', why: `Not chosen by itself: ${objection}.` };
}
