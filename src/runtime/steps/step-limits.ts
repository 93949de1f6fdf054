import type { HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import type { StepLimits } from '../port.ts';
import type { HostFacts } from '../spec/facts.ts';
import { checkUlimits } from '../spec/limits.ts';

/** More than a sound build needs, and few enough that a step which forks without end leaves the host usable. */
const defaultPids = 8192;
/** As Docker: with less the runtime's own start does not fit. */
const leastMemoryBytes = 6 << 20;
const leastCpus = 0.01;

/** As the limits of a container. InvalidArgument `STEP_LIMIT_INVALID`; Unsupported `STEP_LIMIT_UNSUPPORTED` for what this host's control groups cannot hold. */
export function stepResources(limits: StepLimits = {}, facts: Pick<HostFacts, 'controls'>): HostConfig {
  const { memoryBytes, memorySwapBytes, cpus, cpuShares, cpuset, memoryNodes, pids, shmBytes } = limits;
  check(limits, facts);
  const ulimits = limits.ulimits?.map(({ name, soft, hard }) => ({ Name: name, Soft: soft, Hard: hard }));
  checkUlimits(ulimits ?? null);
  return {
    PidsLimit: pids === undefined ? defaultPids : Math.max(pids, -1) || -1,
    ...(memoryBytes ? { Memory: memoryBytes, ...(memorySwapBytes ? { MemorySwap: memorySwapBytes } : {}) } : {}),
    ...(cpus ? { NanoCpus: Math.round(cpus * 1e9) } : {}),
    ...(cpuShares ? { CpuShares: cpuShares } : {}),
    ...(cpuset ? { CpusetCpus: cpuset } : {}),
    ...(memoryNodes ? { CpusetMems: memoryNodes } : {}),
    ...(shmBytes ? { ShmSize: shmBytes } : {}),
    ...(ulimits === undefined ? {} : { Ulimits: ulimits }),
  };
}

function check(
  { memoryBytes = 0, memorySwapBytes = 0, cpus = 0, cpuset, memoryNodes, pids = 0 }: StepLimits,
  facts: Pick<HostFacts, 'controls'>,
): void {
  const { controls } = facts;
  if (memoryBytes !== 0 && !(memoryBytes >= leastMemoryBytes))
    throw invalid(`a step cannot be held to ${memoryBytes} bytes of memory: the least is ${leastMemoryBytes}`);
  if (memorySwapBytes > 0 && memorySwapBytes < memoryBytes)
    throw invalid(
      `a step cannot be held to ${memorySwapBytes} bytes of memory and swap together when it may have ${memoryBytes} of memory alone`,
    );
  if (cpus !== 0 && !(cpus >= leastCpus)) throw invalid(`a step cannot be held to ${cpus} processors: the least is ${leastCpus}`);
  const wanted: [boolean, string, boolean][] = [
    [memoryBytes > 0, 'memory', controls.memory],
    [cpus > 0, 'cpu', controls.cpuQuota],
    [pids > 0, 'pids', controls.pids],
    [Boolean(cpuset) || Boolean(memoryNodes), 'cpuset', controls.cpuset !== undefined],
  ];
  for (const [asked, controller, there] of wanted) {
    if (!asked || there) continue;
    throw new EngineError(
      'Unsupported',
      'STEP_LIMIT_UNSUPPORTED',
      `a step's limit cannot be held: this host has no control groups of "${controller}"`,
      {
        hint: 'Build without the limit, or see "slipway doctor" for what the host offers.',
      },
    );
  }
}

function invalid(message: string): EngineError {
  return new EngineError('InvalidArgument', 'STEP_LIMIT_INVALID', message);
}
