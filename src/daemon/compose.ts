import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Authorization } from '../api/authorization/port.ts';
import { EventBus } from '../api/event-bus.ts';
import { tellBuilt, tellTransfer } from '../api/image-events.ts';
import type { Services } from '../api/services.ts';
import { BuildEngine } from '../build/engine.ts';
import { BuildHistory } from '../build/history/history.ts';
import { RecordedBuilder } from '../build/history/recorded-builder.ts';
import type { ImageFetcher } from '../build/port.ts';
import { BuildKitOnDemand } from '../buildkit/on-demand.ts';
import { StoreCollector } from '../gc/collector.ts';
import { History } from '../gc/history.ts';
import type { Remap } from '../host/userns.ts';
import { SpoolReader } from '../logging/spool-reader.ts';
import { SpoolRotator } from '../logging/spool-rotator.ts';
import { LocalNetworks } from '../network/local-networks.ts';
import { HostWatches } from '../network/watch/watches.ts';
import { HostPlugins } from '../plugins/host-plugins.ts';
import { Cgroups } from '../runtime/cgroups.ts';
import { ConmonMonitor } from '../runtime/drivers/conmon.ts';
import { ContainerEngine } from '../runtime/engine.ts';
import { RuntimePaths } from '../runtime/paths.ts';
import type { RuntimeSettings } from '../runtime/spec/facts.ts';
import { StepProcessRunner } from '../runtime/steps/step-runner.ts';
import { openStore } from '../store/open.ts';
import type { Store } from '../store/port.ts';
import { ArchiveService } from '../transport/archives/service.ts';
import { StoreChunkedForm } from '../transport/chunked/service.ts';
import { StoreTreeCollections } from '../transport/collections/service.ts';
import { StoreLayerMaker } from '../transport/layers/maker.ts';
import { StoreImageJoiner } from '../transport/platforms/joiner.ts';
import type { TransferProgress } from '../transport/port.ts';
import { ImagePuller } from '../transport/pull/puller.ts';
import { Agents } from '../transport/registry/agents.ts';
import { RegistryClient } from '../transport/registry/client.ts';
import { HostTable } from '../transport/registry/hosts.ts';
import { registrySearch } from '../transport/search.ts';
import { RegistryTransfers } from '../transport/transfers.ts';
import { LocalVolumeDriver } from '../volumes/drivers/local.ts';
import { PluginVolumeDrivers } from '../volumes/drivers/plugin.ts';
import { VolumeService } from '../volumes/service.ts';
import { findPrograms, type Programs } from './choose.ts';
import type { DaemonConfig } from './config.ts';
import { tellContainer } from './container-events.ts';
import { containerSettings } from './container-settings.ts';
import { bootstrap, describeEngine, hostReport } from './describe.ts';
import { diskUsage, folderBytes } from './disk-usage.ts';
import { makeAuthorization, makeNetworkDrivers, makeRuntime, makeRuntimes, makeSnapshotter, pickSnapshotter } from './drivers.ts';
import { databaseEntry, workerEntry } from './entries.ts';
import { DaemonGcRooms } from './gc-rooms.ts';
import type { Logger } from './log.ts';

export type Engine = {
  readonly services: Services;
  /** Who decides about requests; undefined when nobody was set to. */
  readonly authorization: Authorization | undefined;
  /** What was chosen, for the log. */
  readonly summary: Record<string, unknown>;
  /** Adopts what an earlier daemon left running. Before anything is served. */
  recover(): Promise<void>;
  /** Puts back what somebody else may have taken away, as after a firewall reload. */
  reload(): Promise<void>;
  /** Ends the engine's own work; containers run on. */
  close(): Promise<void>;
};

type Options = { log: Logger; shutdown: AbortSignal };

/** The one place where things are made: every driver of the engine is constructed here, or in drivers.ts where the configuration chooses, with plain `new`. */
export async function composeEngine(config: DaemonConfig, options: Options): Promise<Engine> {
  const { version: cgroupVersion } = new Cgroups();
  const programs = findPrograms(config);
  const { settings, remap } = await containerSettings(config);
  const store = await openStore({ root: config.root, workerUrl: workerEntry, databaseUrl: databaseEntry });
  try {
    return assemble(config, { store, programs, cgroupVersion, settings, remap }, options);
  } catch (error) {
    await store.close();
    throw error;
  }
}

type Found = { store: Store; programs: Programs; cgroupVersion: 1 | 2; settings: RuntimeSettings; remap: Remap | undefined };

function assemble(config: DaemonConfig, found: Found, { log, shutdown }: Options): Engine {
  const { store, programs, cgroupVersion, settings } = found;
  const rootId = createHash('sha256').update(config.root).digest('hex').slice(0, 8);
  const events = new EventBus();
  const plugins = new HostPlugins();
  const chosen = pickSnapshotter(config, store);
  const snapshotter = makeSnapshotter(chosen.name, { store, runDirectory: config.run });
  const networks = new LocalNetworks({
    directory: join(config.root, 'networks'),
    runDirectory: config.run,
    rootId,
    aardvarkPath: programs.aardvark,
    drivers: makeNetworkDrivers(config, log),
    settings: {
      defaultSubnet: config.network.subnet,
      pools: config.network.pools,
      ipv6Pool: config.network.ipv6Pool,
      mtu: config.network.mtu,
    },
    log: (message) => log.warn(message),
  });
  const volumePaths = { directory: store.paths.volumes, runDirectory: join(config.run, 'volumes') };
  const volumes = new VolumeService({
    ...volumePaths,
    drivers: [new LocalVolumeDriver(volumePaths)],
    plugins: new PluginVolumeDrivers({
      plugins,
      runDirectory: join(config.run, 'volumes/plugins'),
      onError: (plugin, error) => log.error({ err: error, plugin }, 'a volume plugin could not be told of containers that are gone'),
    }),
    usedBy: (name) => containers.volumeUsers(name),
    onEvent: (action, { name, driver }) => events.publish({ type: 'volume', action, id: name, attributes: { driver } }),
  });
  const runtimePaths = new RuntimePaths({ root: config.root, run: config.run });
  const logs = new SpoolReader({ directory: (id) => runtimePaths.log(id), ended: (id) => containers.ended(id) });
  const runtimes = makeRuntimes(config, programs, settings.cgroupDriver);
  const monitor = new ConmonMonitor({ command: programs.conmon });
  const containers: ContainerEngine = new ContainerEngine({
    store,
    snapshotter,
    networks,
    volumes,
    logs,
    runtimes,
    monitor,
    paths: { root: config.root, run: config.run },
    rootId,
    settings,
    initPath: programs.init,
    onEvent: (event) => tellContainer(events, event),
    onError: (container, error) => log.error({ err: error, container }, 'work on a container failed with nobody waiting for it'),
  });
  const rotator = new SpoolRotator({
    live: () => containers.spools(),
    onError: (container, error) => log.error({ err: error, container }, 'a log could not be rotated'),
  });
  const steps = new StepProcessRunner({
    runtime: makeRuntime(programs, programs.defaultRuntime, join(config.run, 'runtime-steps')),
    networks,
    watches: new HostWatches(),
    paths: { run: config.run },
    rootId,
    onError: (step, error) => log.error({ err: error, step }, 'a build step could not be cleaned up'),
  });
  const registries = new RegistryClient({ hosts: config.registries });
  const layers = new StoreLayerMaker(store);
  const chunked = new StoreChunkedForm(store);
  const archives = new ArchiveService({ store, registries, layers, chunked });
  const pulls = new ImagePuller({
    store,
    chunked,
    project: (tree) => snapshotter.project(tree),
    onError: (error, image) =>
      log.warn({ err: error, image }, 'a pulled image could not be made ready to run; its first start tries again'),
  });
  const transfers = new RegistryTransfers({ store, registries, layers, chunked, pulls });
  const fetcher: ImageFetcher = {
    async fetch(reference, { auth, platform, signal, onProgress }) {
      const told = ({ id, status, current }: TransferProgress) => {
        if (current === undefined) onProgress(id === undefined ? status : `${id}: ${status}`);
      };
      const { image } = await transfers.pull({ reference, auth, platform, beside: platform !== undefined }, { signal, onProgress: told });
      tellTransfer(events, 'pull', reference, image);
      return image;
    },
  };
  const joiner = new StoreImageJoiner({ store, registries, layers, chunked });
  const builds = new BuildHistory({ directory: join(config.root, 'build/history') });
  const memoryDirectory = join(config.run, 'build');
  const sharing = { collections: new StoreTreeCollections(store), registries };
  const builder = new BuildEngine({
    store,
    snapshotter,
    archives,
    layers,
    joiner,
    steps,
    fetcher,
    memoryDirectory,
    sharing,
    entitlements: config.buildEntitlements,
  });
  const recorded = new RecordedBuilder({ builder, history: builds });
  const info = describeEngine(config, {
    rootId,
    snapshotter: snapshotter.name,
    programs,
    cgroupVersion,
    cgroupDriver: settings.cgroupDriver,
  });
  const buildkit = new BuildKitOnDemand(async () => {
    const { BuildKitServer } = await import('../buildkit/buildkit-server.ts');
    return new BuildKitServer({
      store,
      builder: recorded,
      caches: builder.cacheMounts,
      archives,
      transfers,
      worker: { id: rootId, version: info.version, hostname: hostname(), snapshotter: snapshotter.name },
      onImage: (image, tags) => tellBuilt(events, image, tags),
      shutdown,
    });
  });
  const writableBytes = (id: string) => folderBytes(join(store.paths.snapshots, id, 'upper'));
  const collector = new StoreCollector({
    store,
    rooms: new DaemonGcRooms({ snapshotter, containers, volumes, writableBytes }),
    policy: config.gc,
    history: new History(join(config.root, 'gc/history.ndjson')),
  });
  const services: Services = {
    store,
    collector,
    jobs: store.jobs,
    containers,
    snapshotter,
    logs,
    builder: recorded,
    builds,
    buildCaches: builder.cacheMounts,
    buildkit,
    archives,
    registries,
    transfers,
    searchImages: registrySearch(new Agents(new HostTable(config.registries), process.env)),
    networks,
    volumes,
    events,
    info,
    containerPaths: (id) => ({
      hosts: runtimePaths.container(id, 'hosts'),
      hostname: runtimePaths.container(id, 'hostname'),
      resolvConf: runtimePaths.container(id, 'resolv.conf'),
      log: join(runtimePaths.log(id), 'spool'),
      netns: join(config.run, 'netns', id),
    }),
    bootstrap: (request, { onProgress, signal }) => bootstrap(store, request, onProgress, signal),
    hostReport: () => hostReport(config, chosen, found.remap),
    diskUsage: () => diskUsage(store.paths),
    writableBytes,
    tmpDir: store.paths.tmp,
    shutdown,
  };
  return {
    services,
    authorization: makeAuthorization(config, plugins, log),
    summary: { snapshotter: snapshotter.name, runtime: info.defaultRuntime, version: info.version },
    async recover() {
      // Without its rules a network is less than it was; without its containers the engine is nothing.
      await networks.recover().catch((error) => log.error({ err: error }, 'networks could not be put back in order'));
      await steps
        .recover()
        .then(() => builder.recover())
        .then(() => builds.recover())
        .catch((error) => log.error({ err: error }, 'build steps that a crash left could not be removed'));
      await containers.recover();
      const running = new Set((await containers.list()).flatMap(({ id, state }) => (state.status === 'running' ? [id] : [])));
      await volumes
        .recover((user) => running.has(user))
        .catch((error) => log.error({ err: error }, 'volumes that a crash left mounted could not be unmounted'));
      for (const user of await snapshotter.viewUsers()) if (!running.has(user)) await snapshotter.endViews(user);
      rotator.start();
    },
    reload: () => networks.reload(),
    async close() {
      await buildkit.close();
      await rotator.close();
      await steps.close();
      await leaveHost({ containers, networks, rootId }).catch((error) => log.error({ err: error }, 'something stayed on the host'));
      await containers.close();
      await networks.close();
      await snapshotter.close();
      await store.close();
    },
  };
}

/** With nothing running, bridges and cgroups have no use before the next start, which makes them anew. */
async function leaveHost({
  containers,
  networks,
  rootId,
}: {
  containers: ContainerEngine;
  networks: LocalNetworks;
  rootId: string;
}): Promise<void> {
  const inUse = (await containers.list()).some(({ state }) => state.status === 'running' || state.status === 'restarting');
  if (inUse) return;
  await networks.dismantle();
  await new Cgroups().remove(`/slipway-${rootId}`);
}
