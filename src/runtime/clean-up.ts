import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { unmountIfMounted } from '../kernel/mount.ts';
import type { PortBinding, PortReservation } from '../network/port.ts';
import type { Container, Run } from './container.ts';
import { containerCgroup, type EngineContext, monitorCgroup, runtimeOf } from './context.ts';
import { portBindings } from './create/ports.ts';
import type { ContainerRecord } from './port.ts';
import { exitCodeOf, isAlive } from './processes.ts';
import { unmountVolumes } from './volume-mounts.ts';

/** How long a monitor may take to end after its container; then it is killed. */
const monitorEndMs = 5_000;

type CleanUpOptions = { unmount?: boolean; keepBundle?: boolean };

/**
 * Takes away everything but record, root and spool. Inside the container's `exclusive`. Safe when half of it is gone; fails with the first
 * failure, after trying all. With `unmount: false` the root stays mounted, for a removal that follows; with `keepBundle` the bundle and the
 * exit record in it stay, until the next start or the removal.
 */
export async function cleanUpLocked(context: EngineContext, container: Container, options: CleanUpOptions = {}): Promise<void> {
  const cleaning = context.gates.cleanUps.run(() => cleanUp(context, container, options));
  container.cleaning = cleaning.catch(() => undefined);
  try {
    await cleaning;
  } finally {
    container.cleaning = undefined;
    container.record.ports = wantedPorts(container.record);
  }
}

async function cleanUp(
  context: EngineContext,
  container: Container,
  { unmount = true, keepBundle = false }: CleanUpOptions,
): Promise<void> {
  const { id, record } = container;
  const results = await Promise.allSettled([removeProcesses(context, container), context.networks.detach(id)]);
  for (const name of ['shm', 'userns']) unmountIfMounted(context.paths.bundle(id, name));
  results.push(
    ...(await Promise.allSettled([
      unmount ? context.snapshotter.unmount(id) : undefined,
      unmountVolumes(context, record),
      keepBundle ? undefined : rm(context.paths.bundle(id), { recursive: true, force: true }),
    ])),
  );
  const failed = results.find((result) => result.status === 'rejected');
  if (failed?.status === 'rejected') throw new Error(`cleaning up after ${record.name}`, { cause: failed.reason });
}

async function removeProcesses(context: EngineContext, container: Container): Promise<void> {
  const { id, record, run } = container;
  const processes = async () => {
    await runtimeOf(context, run?.runtime ?? record.hostConfig.Runtime).delete(id, { force: true });
    await context.cgroups.remove(containerCgroup(context, id));
  };
  const monitor = async () => {
    await monitorGone(run);
    await context.cgroups.remove(monitorCgroup(context, id));
  };
  const ended = await Promise.allSettled([processes(), monitor()]);
  for (const result of ended) if (result.status === 'rejected') throw result.reason;
}

/** It still writes to the bundle after it has recorded the exit. */
async function monitorGone(run: Run | undefined): Promise<void> {
  const deadline = Date.now() + monitorEndMs;
  for (let delayMs = 1; run && isAlive(run.monitor) && Date.now() < deadline; delayMs = Math.min(delayMs * 2, 100)) await sleep(delayMs);
  // It has forked itself away from who started it, and so is the engine's to reap.
  if (run) exitCodeOf(run.monitor);
}

/** The published ports as they were asked for, before free ones were picked. */
export function wantedPorts(record: ContainerRecord): PortBinding[] {
  return portBindings(record.hostConfig, record.config.ExposedPorts);
}

/** Reserves the container's ports. One that a container holds which has just ended is waited for. */
export async function reservePorts({ networks, registry }: EngineContext, record: ContainerRecord): Promise<PortReservation> {
  const wanted = wantedPorts(record);
  for (;;) {
    try {
      return await networks.reserve(wanted, record.networks);
    } catch (error) {
      const leaving = registry.all().filter((other) => other.cleaning && sharesPort(other.record.ports, wanted));
      if (leaving.length === 0) throw error;
      await Promise.all(leaving.map(({ cleaning }) => cleaning));
    }
  }
}

function sharesPort(a: readonly PortBinding[], b: readonly PortBinding[]): boolean {
  return a.some((one) => b.some((other) => one.hostPort !== 0 && one.hostPort === other.hostPort && one.protocol === other.protocol));
}
