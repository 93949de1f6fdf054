import { join } from 'node:path';
import type { GcPolicy } from '../gc/policy.ts';
import type { SubnetPool } from '../network/subnet-pools.ts';
import type { RegistryHosts } from '../transport/registry/hosts.ts';
import { gcPolicy } from './config-gc.ts';
import { registries } from './config-registries.ts';
import { type Given, type Lookup, readSources } from './config-sources.ts';
import * as read from './config-values.ts';
import type { LogLevel } from './log.ts';

/** How the daemon runs. All paths are absolute; undefined means "what slipway doctor would choose". */
export type DaemonConfig = {
  /** State that stays: images, containers, volumes. */
  root: string;
  /** What lives only while the host is up: sockets, mounts, namespaces. */
  run: string;
  /** Where the API is served, of the group `group`, 0660. */
  socket: string;
  /** A second path for clients that look there, such as /var/run/docker.sock. */
  dockerSocket: string | undefined;
  /** Whose members may use the sockets; without such a group on the host, root only. */
  group: string;
  /** Where the API is served over TCP, to clients with a certificate of `tls.ca` only. */
  tcp: readonly read.Address[];
  /** Set whenever `tcp` names an address. PEM files. */
  tls: { ca: string; cert: string; key: string } | undefined;
  /** Plugins that every request is put before, in this order. */
  authorizationPlugins: readonly string[];
  logLevel: LogLevel;
  /** A name in `runtimes`. */
  defaultRuntime: string | undefined;
  /** OCI runtimes beside those found on the host, by the name that `--runtime` takes; `args` come before its own verbs. */
  runtimes: Record<string, read.RuntimeProgram>;
  snapshotter: 'erofs-overlay' | 'hardlink-overlay' | undefined;
  /** A static init program, bound into containers. */
  init: string | undefined;
  conmon: string | undefined;
  /** Who makes containers' cgroups; `auto` is systemd where it runs and has a cgroup v2 host. */
  cgroupDriver: 'auto' | 'cgroupfs' | 'systemd';
  /** `default`, or the user (and group) whose subordinate ids containers' are mapped to; undefined maps none. */
  usernsRemap: string | undefined;
  /** Folders of CDI specifications. */
  cdiDirs: readonly string[];
  /** For containers that ask for none of the name. */
  defaultUlimits: readonly read.Ulimit[];
  /** Bytes of /dev/shm of containers that say nothing. */
  defaultShmSize: number | undefined;
  /** A seccomp profile's file, or `unconfined`; undefined is the built-in one. */
  seccompProfile: string | undefined;
  /** What is particular about registries, by host. */
  registries: RegistryHosts;
  /** What the collector may remove, and when. */
  gc: GcPolicy;
  /** What builds may be allowed with --allow; undefined for the builder's default. */
  buildEntitlements: readonly string[] | undefined;
  network: {
    /** The default network's, in CIDR form. */
    subnet: string | undefined;
    /** Where subnets of other networks are picked from. */
    pools: readonly SubnetPool[] | undefined;
    /** Where IPv6 subnets of 64 bits are picked from, in CIDR form. */
    ipv6Pool: string | undefined;
    mtu: number | undefined;
    aardvarkDns: string | undefined;
    /** Folders of CNI plugins, and of network configurations. */
    cniPlugins: readonly string[] | undefined;
    cniConfig: string | undefined;
  };
};

/**
 * Reads the configuration: flags over SLIPWAY_* variables over the file (`--config`, else /etc/slipway/slipway.toml where there is one).
 * `argv` is what follows `slipway daemon`. InvalidArgument `CONFIG_INVALID` names the key, where it was given, and for an unknown one the
 * nearest that there is.
 */
export function loadConfig(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): DaemonConfig {
  return build(readSources(argv, env));
}

function build(lookup: Lookup): DaemonConfig {
  const path = (name: string) => read.absolute(lookup(name));
  const { root, run } = places(lookup);
  const runtimes = read.runtimes(lookup('runtimes'));
  return {
    root,
    run,
    socket: path('socket') ?? join(run, 'slipway.sock'),
    dockerSocket: path('docker-socket'),
    group: read.matching(lookup('group'), 'group', /^[a-z_][a-z0-9_-]{0,31}$/i, 'the name of a group') ?? 'slipway',
    ...listeners(lookup),
    authorizationPlugins: read.pluginNames(lookup('authorization-plugins'), 'authorization-plugins'),
    logLevel: read.choice(lookup('log-level'), 'log-level', ['debug', 'info', 'warn', 'error']) ?? 'info',
    defaultRuntime: defaultRuntime(lookup('default-runtime'), runtimes),
    runtimes,
    snapshotter: read.choice(lookup('snapshotter'), 'snapshotter', ['erofs-overlay', 'hardlink-overlay']),
    init: path('init'),
    conmon: path('conmon'),
    ...containerDefaults(lookup),
    registries: registries(lookup),
    gc: gcPolicy(lookup),
    buildEntitlements: read.entitlements(lookup('build.entitlements'), 'build.entitlements'),
    network: {
      subnet: read.subnet(lookup('network.subnet')),
      pools: read.pools(lookup('network.pools')),
      ipv6Pool: read.ipv6Pool(lookup('network.ipv6-pool')),
      mtu: read.integer(lookup('network.mtu'), 'network.mtu', 68, 65_535),
      aardvarkDns: path('network.aardvark-dns'),
      cniPlugins: read.paths(lookup('network.cni-plugins'), 'network.cni-plugins'),
      cniConfig: path('network.cni-config'),
    },
  };
}

function places(lookup: Lookup): { root: string; run: string } {
  const found = {
    root: read.absolute(lookup('root')) ?? '/var/lib/slipway',
    run: read.absolute(lookup('run')) ?? '/run/slipway',
  };
  for (const name of ['root', 'run'] as const) {
    if (found[name] === '/') throw read.invalid(lookup(name), name, 'it cannot be the root directory of the host');
  }
  const { root, run } = found;
  if (root === run || run.startsWith(`${root}/`)) {
    throw read.invalid(
      lookup('run') ?? lookup('root'),
      'run',
      `${run} lies in --root ${root}, which outlives a reboot: it must lie outside`,
    );
  }
  return found;
}

/** The API over TCP is as good as being root, so nobody gets to it without a certificate. */
function listeners(lookup: Lookup): Pick<DaemonConfig, 'tcp' | 'tls'> {
  const tcp = read.addresses(lookup('tcp'), 'tcp');
  const files = (['ca', 'cert', 'key'] as const).map((name) => [name, read.absolute(lookup(`tls.${name}`))] as const);
  const missing = files.filter(([, file]) => file === undefined).map(([name]) => `tls.${name}`);
  if (missing.length === 0) return { tcp, tls: Object.fromEntries(files) as DaemonConfig['tls'] };
  if (tcp.length === 0 && missing.length === files.length) return { tcp, tls: undefined };
  const why = tcp.length > 0 ? 'TCP is served with mutual TLS only' : 'the three files of [tls] belong together';
  throw read.invalid(
    lookup('tcp'),
    tcp.length > 0 ? 'tcp' : 'tls',
    `${why}, and ${missing.join(' and ')} ${missing.length === 1 ? 'is' : 'are'} missing. Give tls.ca (whose client certificates are let in), ` +
      "tls.cert and tls.key (the daemon's own); packaging/README.md shows how to make them",
  );
}

function containerDefaults(
  lookup: Lookup,
): Pick<DaemonConfig, 'cgroupDriver' | 'usernsRemap' | 'cdiDirs' | 'defaultUlimits' | 'defaultShmSize' | 'seccompProfile'> {
  const idName = /^(?:default|[a-z_0-9][a-z0-9_.-]*\$?(?::[a-z_0-9][a-z0-9_.-]*)?)$/i;
  const profile = lookup('seccomp-profile');
  return {
    cgroupDriver: read.choice(lookup('cgroup-driver'), 'cgroup-driver', ['auto', 'cgroupfs', 'systemd']) ?? 'auto',
    usernsRemap: read.matching(lookup('userns-remap'), 'userns-remap', idName, 'default, USER or USER:GROUP'),
    cdiDirs: read.paths(lookup('cdi-dirs'), 'cdi-dirs') ?? ['/etc/cdi', '/var/run/cdi'],
    defaultUlimits: read.ulimits(lookup('default-ulimits')),
    defaultShmSize: read.size(lookup('default-shm-size'), 'default-shm-size'),
    seccompProfile: profile?.value === 'unconfined' ? 'unconfined' : read.absolute(profile),
  };
}

function defaultRuntime(given: Given | undefined, runtimes: Record<string, unknown>): string | undefined {
  if (given === undefined) return undefined;
  const known = ['runc', 'crun', ...Object.keys(runtimes)];
  if (typeof given.value === 'string' && known.includes(given.value)) return given.value;
  throw read.invalid(given, 'default-runtime', `${JSON.stringify(given.value)} is none of the runtimes ${known.join(', ')}`);
}
