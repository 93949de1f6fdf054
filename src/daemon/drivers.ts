import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { PluginAuthorization } from '../api/authorization/plugin-authorization.ts';
import type { Authorization } from '../api/authorization/port.ts';
import { crunPrefix } from '../host/crun.ts';
import { CniDriver } from '../network/drivers/cni.ts';
import type { NetworkDriver } from '../network/drivers/port.ts';
import { WireDriver } from '../network/drivers/wire.ts';
import type { HostPlugins } from '../plugins/host-plugins.ts';
import { OciRuntime } from '../runtime/drivers/oci-runtime.ts';
import type { RuntimeSettings } from '../runtime/spec/facts.ts';
import { chooseSnapshotter, type SnapshotterChoice, type SnapshotterName } from '../snapshot/choose.ts';
import { ErofsOverlaySnapshotter } from '../snapshot/drivers/erofs-overlay.ts';
import { HardlinkOverlaySnapshotter } from '../snapshot/drivers/hardlink-overlay.ts';
import type { SnapshotterOptions } from '../snapshot/drivers/overlay-snapshotter.ts';
import type { Snapshotter } from '../snapshot/port.ts';
import type { Store } from '../store/port.ts';
import type { Programs } from './choose.ts';
import type { DaemonConfig } from './config.ts';
import type { Logger } from './log.ts';

// Drivers that the configuration chooses among: part of the composition root (compose.ts).

/** Beside bridges, which the engine itself makes. */
export function makeNetworkDrivers({ network }: DaemonConfig, log: Logger): Map<string, NetworkDriver> {
  return new Map<string, NetworkDriver>([
    ['macvlan', new WireDriver('macvlan')],
    ['ipvlan', new WireDriver('ipvlan')],
    [
      'cni',
      new CniDriver({
        configDirectory: network.cniConfig ?? '/etc/cni/net.d',
        pluginDirectories: network.cniPlugins ?? ['/usr/lib/cni', '/opt/cni/bin'],
        log: (message) => log.warn(message),
      }),
    ],
  ]);
}

export function makeAuthorization(
  { authorizationPlugins: names }: DaemonConfig,
  plugins: HostPlugins,
  log: Logger,
): Authorization | undefined {
  if (names.length === 0) return undefined;
  const onFailure = (plugin: string, error: unknown) => log.error({ err: error, plugin }, 'an authorization plugin could not be asked');
  return new PluginAuthorization({ names, plugins, onFailure });
}

export function makeRuntimes(config: DaemonConfig, programs: Programs, cgroupDriver: RuntimeSettings['cgroupDriver']) {
  const make = (name: string): [string, OciRuntime] => [
    name,
    makeRuntime(programs, name, join(config.run, 'runtime', name), cgroupDriver === 'systemd'),
  ];
  return { default: programs.defaultRuntime, all: new Map(Object.keys(programs.runtimes).map(make)) };
}

export function makeRuntime(programs: Programs, name: string, root: string, systemdCgroup = false): OciRuntime {
  const { path = name, args } = programs.runtimes[name] ?? {};
  const prefix = basename(path) === 'crun' ? crunPrefix() : undefined;
  return new OciRuntime({ name, command: path, args, root, systemdCgroup, prefix });
}

export function pickSnapshotter(config: DaemonConfig, store: Store): SnapshotterChoice {
  if (config.snapshotter !== undefined) return { name: config.snapshotter, reason: 'the configuration names it' };
  return chooseSnapshotter({ workDirectory: store.paths.tmp, runDirectory: config.run, used: usedSnapshotter(store.paths) });
}

function usedSnapshotter({ erofs, inodes }: Store['paths']): SnapshotterName | undefined {
  if (readdirSync(erofs).length > 0) return 'erofs-overlay';
  return readdirSync(inodes).length > 0 ? 'hardlink-overlay' : undefined;
}

export function makeSnapshotter(name: SnapshotterName, options: SnapshotterOptions): Snapshotter {
  return name === 'erofs-overlay' ? new ErofsOverlaySnapshotter(options) : new HardlinkOverlaySnapshotter(options);
}
