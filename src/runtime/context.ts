import type { LogReader } from '../logging/port.ts';
import type { Networks } from '../network/port.ts';
import type { Snapshotter } from '../snapshot/port.ts';
import type { Store } from '../store/port.ts';
import type { Volumes } from '../volumes/port.ts';
import type { Cgroups } from './cgroups.ts';
import type { Container } from './container.ts';
import type { ConmonMonitor } from './drivers/conmon.ts';
import type { OciRuntime } from './drivers/oci-runtime.ts';
import type { Gate } from './gate.ts';
import type { RuntimePaths } from './paths.ts';
import type { ContainerEvent } from './port.ts';
import type { Registry } from './registry.ts';
import type { HostFacts } from './spec/build.ts';
import { type CgroupPlace, cgroupPlace } from './spec/cgroup-path.ts';

/** The runtimes of the configuration; `HostConfig.Runtime` names one. */
export type Runtimes = { default: string; all: ReadonlyMap<string, OciRuntime> };

/** What the engine stands on. */
export type EngineBase = {
  store: Pick<Store, 'images' | 'uses'>;
  snapshotter: Snapshotter;
  networks: Networks;
  volumes: Volumes;
  logs: LogReader;
  runtimes: Runtimes;
  monitor: ConmonMonitor;
};

/** What the parts of the engine share. */
export type EngineContext = EngineBase & {
  cgroups: Cgroups;
  facts: HostFacts;
  paths: RuntimePaths;
  /** `/slipway-<root id>`: the parent of all groups of this engine. */
  cgroupParent: string;
  /** A static init on the host; undefined when there is none. */
  initPath: string | undefined;
  registry: Registry;
  /** How many starts, and clean-ups after an end, go on side by side. */
  gates: { starts: Gate; cleanUps: Gate };
  emit(container: Container, action: ContainerEvent['action'], attributes?: Record<string, string>): void;
  /** Something that went wrong where nobody waits for an answer. */
  report(container: string, error: unknown): void;
  now(): number;
};

/** Where a container's own group is, and how its runtime is told. */
export function cgroupOf(context: EngineContext, id: string): CgroupPlace {
  const asked = context.registry.byId(id)?.record.hostConfig.CgroupParent;
  return cgroupPlace(context.facts.settings.cgroupDriver, context.cgroupParent, asked, id);
}

export function containerCgroup(context: EngineContext, id: string): string {
  return cgroupOf(context, id).path;
}

export function monitorCgroup(context: EngineContext, id: string): string {
  return `${context.cgroupParent}/mon-${id}`;
}

export function runtimeOf(context: EngineContext, name: string | undefined): OciRuntime {
  const runtime = context.runtimes.all.get(name || context.runtimes.default);
  if (!runtime) throw new Error(`runtime ${name} is not configured`);
  return runtime;
}
