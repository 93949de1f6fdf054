import type { HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import type { HostFacts } from './facts.ts';
import type { NamespaceType, RuntimeSpec } from './types.ts';

/** `own`: a new one; `host`: none; a path: that one. */
export type NamespaceChoice = 'own' | 'host' | { path: string };

/** `user` is left out for the host's. */
export type SharedNamespaces = {
  network: NamespaceChoice;
  pid: NamespaceChoice;
  ipc: NamespaceChoice;
  uts: NamespaceChoice;
  user?: NamespaceChoice | undefined;
};

export function namespaces(shared: SharedNamespaces, cgroup: NamespaceChoice): RuntimeSpec['linux']['namespaces'] {
  const choices: [NamespaceType, NamespaceChoice][] = [
    ['mount', 'own'],
    // Before those that belong to it.
    ['user', shared.user ?? 'host'],
    ['network', shared.network],
    ['uts', shared.uts],
    ['pid', shared.pid],
    ['ipc', shared.ipc],
    ['cgroup', cgroup],
  ];
  return choices.flatMap(([type, choice]) => (choice === 'host' ? [] : choice === 'own' ? [{ type }] : [{ type, path: choice.path }]));
}

/** Docker's defaults: private with cgroup v2, the host's with v1. */
export function cgroupNamespace(
  host: Pick<HostConfig, 'CgroupnsMode' | 'Privileged'>,
  facts: Pick<HostFacts, 'cgroupVersion' | 'controls'>,
): NamespaceChoice {
  const mode = host.CgroupnsMode ?? '';
  if (mode !== '' && mode !== 'host' && mode !== 'private')
    throw new EngineError('InvalidArgument', 'CGROUPNS_INVALID', `invalid cgroup namespace mode: ${mode}`);
  const wanted = mode === '' ? facts.cgroupVersion === 2 : mode === 'private';
  return wanted && facts.controls.cgroupNamespaces ? 'own' : 'host';
}
