import type { HostConfig, Resources, RestartPolicy, UpdateRequest } from '../api-types/container.ts';
import { EngineError } from '../base/errors.ts';
import type { Container } from './container.ts';
import { containerCgroup, type EngineContext, runtimeOf } from './context.ts';
import { whileItRuns } from './control.ts';
import { checkResources } from './create/check-resources.ts';
import { resourceLimits } from './spec/limits.ts';

/** What can change while a container runs. */
const changeable = [
  'BlkioWeight',
  'CpuShares',
  'NanoCpus',
  'CpuPeriod',
  'CpuQuota',
  'CpuRealtimePeriod',
  'CpuRealtimeRuntime',
  'CpusetCpus',
  'CpusetMems',
  'Memory',
  'MemorySwap',
  'MemoryReservation',
  'KernelMemory',
  'PidsLimit',
] as const satisfies readonly (keyof Resources)[];

/**
 * Changes limits and restart policy, of a container that runs at once. Inside the container's `exclusive`. Answers warnings. InvalidArgument and
 * Conflict in Docker's words; when the kernel refuses a limit, everything stays as it was.
 */
export async function updateLocked(context: EngineContext, container: Container, request: UpdateRequest): Promise<string[]> {
  const { record } = container;
  const { RestartPolicy, ...asked } = request;
  if (record.state.status === 'removing' || record.state.status === 'dead')
    throw cannotUpdate(container, 'container is marked for removal and cannot be "update"');
  const policy = checkPolicy(container, RestartPolicy);
  const { resources, warnings } = checkResources(asked, context.facts, { update: true });
  const before = record.hostConfig;
  const after = mergeLimits(container, resources);
  warnings.push(...notChangeable(resources));
  if (record.state.status === 'running') await applyLimits(context, container, after);
  record.hostConfig = policy ? { ...after, RestartPolicy: policy } : after;
  try {
    await context.registry.save(container);
  } catch (error) {
    record.hostConfig = before;
    if (record.state.status === 'running') await applyLimits(context, container, before);
    throw error;
  }
  return warnings;
}

async function applyLimits(context: EngineContext, container: Container, host: HostConfig): Promise<void> {
  const { id, run } = container;
  // Devices' own limits cannot change; the runtime would set them anew.
  const { blockIO, ...limits } = resourceLimits(host, context.facts);
  const resources = { ...limits, ...(blockIO?.weight ? { blockIO: { weight: blockIO.weight } } : {}) };
  const update = () => runtimeOf(context, run?.runtime).update(id, resources, context.paths.bundle(id, 'update.json'));
  try {
    await whileItRuns(container, 'update container', update);
    // Not every runtime can take a limit away.
    if ((host.PidsLimit ?? 0) < 0) await context.cgroups.write(containerCgroup(context, id), 'pids', 'pids.max', 'max');
  } catch (error) {
    if (error instanceof EngineError && error.kind === 'Conflict') throw error;
    throw new EngineError('Internal', 'UPDATE_FAILED', `Cannot update container ${id}: ${(error as Error).message}`, {
      hint: 'A memory limit cannot go below what the container uses.',
      cause: error,
    });
  }
}

/** The old limits with the new ones over them: what is absent or zero stays. */
function mergeLimits(container: Container, asked: Resources): HostConfig {
  const old = container.record.hostConfig;
  const conflict = (what: string, other: string) =>
    cannotUpdate(container, `Conflicting options: ${what} cannot be updated as ${other} has already been set`);
  if (asked.NanoCpus && old.CpuPeriod) throw conflict('Nano CPUs', 'CPU Period');
  if (asked.NanoCpus && old.CpuQuota) throw conflict('Nano CPUs', 'CPU Quota');
  if (asked.CpuPeriod && old.NanoCpus) throw conflict('CPU Period', 'NanoCPUs');
  if (asked.CpuQuota && old.NanoCpus) throw conflict('CPU Quota', 'NanoCPUs');
  // Without one of its own the swap limit is twice that of memory, from the start on.
  const oldSwap = old.MemorySwap || (old.Memory ?? 0) * 2;
  if (asked.Memory && !asked.MemorySwap && oldSwap > 0 && asked.Memory > oldSwap) {
    throw cannotUpdate(
      container,
      'Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time',
    );
  }
  const changed = Object.fromEntries(changeable.flatMap((field) => (asked[field] ? [[field, asked[field]]] : [])));
  return {
    ...old,
    ...(oldSwap > 0 ? { MemorySwap: oldSwap } : {}),
    ...changed,
    // Zero is a value here: no limit.
    ...(typeof asked.PidsLimit === 'number' ? { PidsLimit: asked.PidsLimit <= 0 ? -1 : asked.PidsLimit } : {}),
  };
}

function notChangeable(asked: Resources): string[] {
  const isSet = (value: unknown) => (Array.isArray(value) ? value.length > 0 : Boolean(value));
  const others = Object.entries(asked).filter(([field, value]) => !(changeable as readonly string[]).includes(field) && isSet(value));
  return others.map(([field]) => `${field} cannot be changed by an update and stays as it is`);
}

function checkPolicy(container: Container, policy: RestartPolicy | undefined): RestartPolicy | undefined {
  if (!policy?.Name) return undefined;
  const { Name, MaximumRetryCount = 0 } = policy;
  if (container.record.hostConfig.AutoRemove && Name !== 'no')
    throw cannotUpdate(container, 'Restart policy cannot be updated because AutoRemove is enabled for the container');
  if (MaximumRetryCount !== 0 && Name !== 'on-failure')
    throw invalidPolicy(`invalid restart policy: maximum retry count can only be used with 'on-failure'`);
  if (MaximumRetryCount < 0) throw invalidPolicy(`invalid restart policy: maximum retry count cannot be negative`);
  return { Name, MaximumRetryCount };
}

function invalidPolicy(message: string): EngineError {
  return new EngineError('InvalidArgument', 'RESTART_POLICY_INVALID', message);
}

function cannotUpdate(container: Container, why: string): EngineError {
  return new EngineError('Conflict', 'UPDATE_CONFLICT', `Cannot update container ${container.id}: ${why}`);
}
