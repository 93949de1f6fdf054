import type { HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import type { IdMap } from '../../snapshot/port.ts';
import type { ContainerRecord } from '../port.ts';
import { parseSecurityOptions } from '../spec/security.ts';
import { networkMode } from './network-mode.ts';

/**
 * The user namespace's ids of a container to be made; undefined for the host's. `standard` is the configuration's. One that shares another's
 * namespaces has the other's ids: they belong to its user namespace. InvalidArgument in Docker's words for what a user namespace cannot have.
 */
export function chooseIdMap(
  host: HostConfig,
  standard: IdMap | undefined,
  find: (name: string) => Pick<ContainerRecord, 'id' | 'idMap'>,
): IdMap | undefined {
  const refuse = (message: string, hint?: string) => new EngineError('InvalidArgument', 'USERNS_CONFLICT', message, { hint });
  const mode = host.UsernsMode ?? '';
  if (mode !== '' && mode !== 'host')
    throw new EngineError('InvalidArgument', 'USERNS_UNSUPPORTED', `invalid user namespace mode: ${mode}`, {
      hint: 'Leave it out, or use host.',
    });
  if (mode === 'host' || standard === undefined) return undefined;
  const hint = "Give it the host's with --userns host.";
  if (host.Privileged)
    throw refuse(
      'privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode',
      hint,
    );
  if (networkMode(host).kind === 'host') throw refuse("cannot share the host's network namespace when user namespaces are enabled", hint);
  if (host.PidMode === 'host') throw refuse('cannot share the host PID namespace when user namespaces are enabled', hint);
  if (host.IpcMode === 'host') throw refuse('cannot share the host IPC namespace when user namespaces are enabled', hint);
  if (parseSecurityOptions(host.SecurityOpt ?? []).writableCgroups !== undefined)
    throw refuse('option WritableCgroups conflicts with user namespaces and rootless mode', hint);
  const owner = namespaceOwner(host);
  if (owner === undefined) return standard;
  const { id, idMap } = find(owner);
  if (idMap !== undefined) return idMap;
  throw refuse(`cannot share namespaces of container ${id}: it runs in the host's user namespace, and this one would not`, hint);
}

/** The container whose namespaces are shared: their user namespace has to be shared too. */
export function namespaceOwner(host: Pick<HostConfig, 'NetworkMode' | 'IpcMode' | 'PidMode'>): string | undefined {
  const modes = [host.NetworkMode, host.IpcMode, host.PidMode];
  return modes.find((mode) => mode?.startsWith('container:'))?.slice('container:'.length);
}
