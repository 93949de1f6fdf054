import { nearest } from '../base/nearest.ts';

/** A value as TOML, a flag or a variable gives it. */
export type RawValue = string | number | boolean | readonly unknown[] | { readonly [key: string]: unknown };

/** One key of the configuration under its three names. */
export type Key = {
  /** In the file: `network.mtu` is `mtu` in `[network]`. */
  name: string;
  /** '' for what is in the file only, and so for the variable. */
  flag: string;
  variable: string;
  placeholder: string;
  help: string;
  /** Repeating the flag adds to it. */
  list: boolean;
  inFile: boolean;
};

function key(name: string, placeholder: string, help: string, options: Partial<Key> = {}): Key {
  const flag = options.flag ?? name.replace('.', '-');
  const variable = flag === '' ? '' : `SLIPWAY_${name.toUpperCase().replace(/[.-]/g, '_')}`;
  return { name, flag, variable, placeholder, help, list: false, inFile: true, ...options };
}

/** Every key that there is; packaging/slipway.toml shows each. */
export const keys: readonly Key[] = [
  key('config', 'FILE', 'configuration file (default /etc/slipway/slipway.toml, where there is one)', { inFile: false }),
  key('root', 'DIR', 'images, containers, volumes (default /var/lib/slipway)'),
  key('run', 'DIR', 'sockets, mounts, namespaces (default /run/slipway)'),
  key('socket', 'PATH', 'where the API is served (default <run>/slipway.sock)'),
  key('docker-socket', 'PATH', 'a second socket, for clients that look for /var/run/docker.sock'),
  key('group', 'NAME', 'whose members may use the sockets (default slipway)'),
  key('tcp', 'ADDRESS:PORT', 'serve the API here too, to clients with a certificate (needs tls.*); may be repeated', { list: true }),
  key('tls.ca', 'FILE', 'certificate authority of the clients that are let in over TCP'),
  key('tls.cert', 'FILE', "the daemon's certificate for TCP"),
  key('tls.key', 'FILE', 'its private key'),
  key('authorization-plugins', 'NAME', 'plugin that every request is put before, in this order; may be repeated', {
    flag: 'authorization-plugin',
    list: true,
  }),
  key('log-level', 'LEVEL', 'debug, info, warn or error (default info)'),
  key('default-runtime', 'NAME', 'OCI runtime of containers that name none (default: crun where it works, else runc)'),
  key('runtimes', 'NAME=PATH', 'a further OCI runtime; may be repeated', { flag: 'runtime', list: true }),
  key('snapshotter', 'NAME', 'erofs-overlay or hardlink-overlay (default: the first that works)'),
  key('init', 'PATH', 'static init program for containers (default: catatonit, where installed)'),
  key('cgroup-driver', 'NAME', "who makes containers' control groups: auto, cgroupfs or systemd (default auto)"),
  key('userns-remap', 'USER[:GROUP]', "map containers' ids to this user's subordinate ones; default for a user of Slipway's"),
  key('cdi-dirs', 'DIR', 'folders of CDI specifications (default /etc/cdi and /var/run/cdi); may be repeated', {
    flag: 'cdi-dir',
    list: true,
  }),
  key('default-ulimits', 'NAME=SOFT[:HARD]', 'resource limit of containers that set none; may be repeated', {
    flag: 'default-ulimit',
    list: true,
  }),
  key('default-shm-size', 'SIZE', 'size of /dev/shm where a container says nothing (default 64m)'),
  key('seccomp-profile', 'FILE', 'profile of containers that name none, or unconfined (default: built in)'),
  key('conmon', 'PATH', 'container monitor (default: conmon in PATH)'),
  key('gc', '', 'what garbage collection may remove, and when', { flag: '' }),
  key('registries', '', 'mirrors, certificates and limits of registries, a table for each host', { flag: '' }),
  key('insecure-registries', 'HOST', 'registry that may be spoken to over plain HTTP or with any certificate; may be repeated', {
    flag: 'insecure-registry',
    list: true,
  }),
  key('registry-mirrors', '[HOST=]MIRROR', "where a registry's images are pulled from first (HOST: docker.io); may be repeated", {
    flag: 'registry-mirror',
    list: true,
  }),
  key(
    'build.entitlements',
    'NAME',
    'what builds may be allowed: network.host, device (these by default), security.insecure; may be repeated',
    {
      flag: 'build-entitlement',
      list: true,
    },
  ),
  key('network.subnet', 'CIDR', "the default network's subnet (default: one that nothing on the host uses)"),
  key('network.pools', 'CIDR:BITS', "where other networks' subnets are picked from; may be repeated", { list: true }),
  key('network.ipv6-pool', 'CIDR', 'where IPv6 subnets are picked from (default: a unique local range of this root)'),
  key('network.mtu', 'BYTES', "largest packet on bridges (default: that of the default route's interface)"),
  key('network.cni-plugins', 'DIR', 'folders of CNI plugins (default /usr/lib/cni and /opt/cni/bin); may be repeated', { list: true }),
  key('network.cni-config', 'DIR', 'folder of CNI network configurations (default /etc/cni/net.d)'),
  key('network.aardvark-dns', 'PATH', 'aardvark-dns (default: found where the distribution has it)'),
];

export function nearestKey(word: string, nameOf: (key: Key) => string): string | undefined {
  return nearest(
    word,
    keys.map(nameOf).filter((name) => name !== ''),
  );
}
