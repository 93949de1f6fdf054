import { mkdir, rm } from 'node:fs/promises';
import type { Timeline } from '../base/timeline.ts';
import type { Endpoint } from '../network/port.ts';
import { reservePorts } from './clean-up.ts';
import type { Container } from './container.ts';
import { type EngineContext, monitorCgroup, runtimeOf } from './context.ts';
import { namespaceOwner } from './create/id-map.ts';
import { networkMode } from './create/network-mode.ts';
import type { Launch } from './drivers/conmon.ts';
import { writeEtcFiles } from './etc-files.ts';
import type { ContainerRecord } from './port.ts';
import { prepareBundle } from './prepare.ts';
import { makeUserNamespace } from './spec/user-namespace.ts';
import { mountVolumes } from './volume-mounts.ts';

/** A container whose process waits to be started. */
export type Created = {
  pid: number;
  monitorPid: number;
  stubs: readonly string[];
  endpoints: readonly Endpoint[];
  ports: ContainerRecord['ports'];
};

/**
 * Makes everything that a running container needs and lets its process go. What does not depend on each other goes side by side: while the network
 * is set up inside the namespace, the monitor loads, the root is mounted and the runtime makes the container. `commit` is called in between: from then
 * on a later engine adopts it. When any part fails the others are ended or awaited, and what they made is left to `cleanUpLocked`.
 */
export async function bringUp(
  context: EngineContext,
  container: Container,
  timeline: Timeline,
  commit: (created: Created) => Promise<void>,
): Promise<void> {
  const { record, id } = container;
  const runtime = runtimeOf(context, record.hostConfig.Runtime);
  const bundle = context.paths.bundle(id);
  await rm(bundle, { recursive: true, force: true });
  await Promise.all([mkdir(bundle, { recursive: true, mode: 0o700 }), context.registry.prepareFolder(id)]);
  await using reservation = await timeline.time('ports', reservePorts(context, record));
  const ports = [...reservation.bindings];
  const launch = context.monitor.launch({
    id,
    bundle,
    runtime,
    terminal: record.config.Tty ?? false,
    stdin: stdinMode(record),
    logPath: context.paths.spool(id),
    keep: reservation.fds,
  });
  try {
    await commit({ ...(await createAndAttach(context, container, { launch, ports, timeline })), ports });
  } catch (error) {
    await launch.abort();
    throw error;
  }
  reservation.release();
  for (const connect of [...container.onCreated]) connect();
  await timeline.time('start', runtime.start(id));
}

type Making = { launch: Launch; ports: ContainerRecord['ports']; timeline: Timeline };

/** Rejects once both sides have ended: what is still being made cannot be taken away. */
async function createAndAttach(context: EngineContext, container: Container, making: Making): Promise<Omit<Created, 'ports'>> {
  const netns = openNetwork(context, container.record, making.timeline);
  const attached = attach(context, container.record, netns, making);
  const created = create(context, container, netns, making);
  // A runtime may take its time: it is not awaited when there will be no network.
  attached.catch(() => making.launch.abort()).catch((error) => context.report(container.id, error));
  const [network, made] = await Promise.allSettled([attached, created]);
  // A network that fails takes its namespace away, of which the runtime then complains: the cause is told, and not what follows from it.
  if (network.status === 'rejected') throw network.reason;
  if (made.status === 'rejected') throw made.reason;
  return { ...made.value, endpoints: network.value };
}

async function create(context: EngineContext, container: Container, netns: Promise<string | undefined>, { launch, timeline }: Making) {
  const { id, record } = container;
  const moved = timeline.time('monitor', context.cgroups.isolate(launch.pid, monitorCgroup(context, id)));
  const [snapshot, path, mounts] = await settled([
    timeline.time('mount', context.snapshotter.mount(id)),
    netns,
    timeline.time('volumes', mountVolumes(context, record)),
    moved,
  ]);
  const { spec, stubs } = await timeline.time('spec', prepareBundle(context, container, { rootfs: snapshot.rootfs, netns: path, mounts }));
  const pids = await timeline.time('runtime create', launch.create());
  await runtimeOf(context, record.hostConfig.Runtime).created(id, spec);
  return { ...pids, stubs };
}

/** The namespace, empty as yet; undefined when the container has none of the engine's. */
async function openNetwork(context: EngineContext, record: ContainerRecord, timeline: Timeline): Promise<string | undefined> {
  if (record.idMap !== undefined && namespaceOwner(record.hostConfig) === undefined) {
    // A network namespace is its user namespace's: made together, and found there by who opens it.
    const network = hasNetwork(record) ? context.paths.netns(record.id) : undefined;
    await timeline.time('user namespace', makeUserNamespace({ user: context.paths.bundle(record.id, 'userns'), network }, record.idMap));
  }
  return hasNetwork(record) ? timeline.time('namespace', context.networks.openNamespace(record.id)) : undefined;
}

/** Fills the namespace, and then writes what the container is told of it. */
async function attach(
  context: EngineContext,
  record: ContainerRecord,
  netns: Promise<unknown>,
  { ports, timeline }: Making,
): Promise<readonly Endpoint[]> {
  await netns;
  const names = { containerName: record.name, hostname: record.config.Hostname ?? '', dnsServers: record.hostConfig.Dns ?? [] };
  const endpoints = hasNetwork(record)
    ? (await timeline.time('network', context.networks.attach(record.id, record.networks, ports, names))).endpoints
    : [];
  await writeEtcFiles(context, record, endpoints);
  return endpoints;
}

function hasNetwork(record: ContainerRecord): boolean {
  return networkMode(record.hostConfig).kind === 'network';
}

/** A terminal's stdin must stay open when a client leaves; a pipe's ends with the one client that it was opened for. */
function stdinMode(record: ContainerRecord): 'none' | 'once' | 'open' {
  const { OpenStdin, StdinOnce, Tty } = record.config;
  if (!OpenStdin) return 'none';
  return StdinOnce && !Tty ? 'once' : 'open';
}

/** All, or the first failure once all have ended: what is still being made cannot be taken away. */
async function settled<T extends readonly unknown[]>(promises: [...{ [K in keyof T]: Promise<T[K]> }]): Promise<T> {
  await Promise.allSettled(promises);
  return (await Promise.all(promises)) as unknown as T;
}
