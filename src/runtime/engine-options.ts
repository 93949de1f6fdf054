import { Cgroups } from './cgroups.ts';
import type { Container } from './container.ts';
import type { EngineBase, EngineContext } from './context.ts';
import { makeGates } from './gate.ts';
import { hostFacts } from './host-facts.ts';
import { RuntimePaths } from './paths.ts';
import type { ContainerEvent } from './port.ts';
import { Registry } from './registry.ts';
import type { RuntimeSettings } from './spec/facts.ts';

export type ContainerEngineOptions = EngineBase & {
  paths: { root: string; run: string };
  /** Short and derived from the root: names cgroups, so that engines on one host do not meet. */
  rootId: string;
  /** What the configuration says of all containers; Docker's defaults for what is left out. */
  settings?: Partial<RuntimeSettings> | undefined;
  /** A static init on the host (catatonit); without one containers run without. */
  initPath?: string | undefined;
  onEvent?: ((event: ContainerEvent) => void) | undefined;
  /** Failures where nobody waits for an answer, such as in cleaning up after an exit. */
  onError?: ((containerId: string, error: unknown) => void) | undefined;
  clock?: { now(): number } | undefined;
};

/** What the parts of an engine share. `follow` hears of every event before anybody outside does. */
export function makeContext(
  options: ContainerEngineOptions,
  follow: (container: Container, action: ContainerEvent['action']) => void,
): EngineContext {
  const paths = new RuntimePaths(options.paths);
  const cgroups = new Cgroups();
  const { onEvent, onError, clock = Date } = options;
  return {
    ...options,
    paths,
    cgroups,
    facts: hostFacts(cgroups, options.settings),
    cgroupParent: `/slipway-${options.rootId}`,
    initPath: options.initPath,
    registry: new Registry(paths),
    gates: makeGates(),
    emit: (container, action, attributes) => {
      follow(container, action);
      onEvent?.({ action, record: container.record, ...(attributes ? { attributes } : {}) });
    },
    report: (container, error) => onError?.(container, error),
    now: () => clock.now(),
  };
}
