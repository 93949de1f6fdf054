import manifest from '../../package.json' with { type: 'json' };
import type { EngineInfo } from '../api/services.ts';
import type { BootstrapRequest } from '../api-types/own.ts';
import { EngineError } from '../base/errors.ts';
import { inspectHost } from '../host/inspect.ts';
import type { Remap } from '../host/userns.ts';
import type { SnapshotterChoice } from '../snapshot/choose.ts';
import type { Store } from '../store/port.ts';
import { bootstrapDebian } from '../transport/bootstrap.ts';
import type { Programs } from './choose.ts';
import type { DaemonConfig } from './config.ts';

/** What the engine says of itself. */
export function describeEngine(
  config: DaemonConfig,
  made: { rootId: string; snapshotter: string; programs: Programs; cgroupVersion: 1 | 2; cgroupDriver: 'cgroupfs' | 'systemd' },
): EngineInfo {
  const { programs } = made;
  return {
    version: manifest.version,
    gitCommit: '',
    id: made.rootId,
    root: config.root,
    snapshotter: made.snapshotter,
    runtimes: programs.runtimes,
    defaultRuntime: programs.defaultRuntime,
    cgroupVersion: made.cgroupVersion === 1 ? '1' : '2',
    cgroupDriver: made.cgroupDriver,
    cdiDirs: config.cdiDirs,
    seccompProfile: config.seccompProfile ?? 'builtin',
    usernsRemap: config.usernsRemap !== undefined,
    initPath: programs.init,
    authorizationPlugins: config.authorizationPlugins,
    monitorPath: programs.conmon,
    registries: config.registries,
    debug: config.logLevel === 'debug',
    startedAtMs: Date.now(),
  };
}

/** What `slipway doctor` shows, as this daemon was configured. */
export function hostReport(config: DaemonConfig, snapshotter: SnapshotterChoice, remap: Remap | undefined) {
  return inspectHost({
    root: config.root,
    run: config.run,
    snapshotter: { name: snapshotter.name, why: snapshotter.reason },
    defaultRuntime: config.defaultRuntime,
    runtimes: config.runtimes,
    cgroupDriver: config.cgroupDriver,
    usernsRemap: config.usernsRemap,
    remap,
    cdiDirs: config.cdiDirs,
    paths: { conmon: config.conmon, init: config.init, 'aardvark-dns': config.network.aardvarkDns },
  });
}

/** The only distribution so far; others are refused by name. */
export function bootstrap(store: Store, request: BootstrapRequest, onOutput: (line: string) => void, signal: AbortSignal) {
  const { distribution, suite, include, mirror, reference: tag, noCache: refresh, hostCertificates } = request;
  if (distribution !== 'debian') {
    throw new EngineError('Unsupported', 'DISTRIBUTION_UNSUPPORTED', `there is no way to make a base of "${distribution}"`, {
      hint: 'The one distribution so far is debian.',
    });
  }
  return bootstrapDebian(store, { suite, include, mirror, tag, refresh, hostCertificates, signal, onOutput });
}
