import { posix } from 'node:path';
import type { RunMount, SecretMount, SshMount } from '../graph/vertex.ts';
import type { MountOptions } from './mounts.ts';
import { absolutePath } from './paths.ts';
import type { Source } from './source.ts';
import { placeOf, type StageState } from './stage.ts';
import type { Surroundings } from './surroundings.ts';

/** `--mount=type=secret`: in `/run/secrets/<id>` unless it says where, or that it is a variable only. */
export function secretMount(stage: StageState, options: MountOptions, { source, invalidateSecrets }: Surroundings): SecretMount {
  const id = options.source || options.id || posix.basename(options.target ?? '');
  const target = options.target || (options.env === undefined ? `/run/secrets/${posix.basename(id)}` : undefined);
  if (options.env !== undefined && !/^[^=\0]+$/.test(options.env)) {
    throw source.invalid('MOUNT_INVALID', options.location, `--mount: env=${options.env} is not the name of a variable`);
  }
  return {
    kind: 'secret',
    id,
    target: target === undefined ? undefined : mountPoint(stage, target, options, source),
    env: options.env,
    required: options.required,
    mode: options.mode ?? 0o400,
    uid: options.uid ?? 0,
    gid: options.gid ?? 0,
    ...(invalidateSecrets.includes(id) ? { invalidate: true } : {}),
    place: placeOf(source, options.location),
  };
}

/** `--mount=type=ssh`. `earlier`: the mounts before it, whose sockets have other names. */
export function sshMount(stage: StageState, options: MountOptions, source: Source, earlier: readonly RunMount[]): SshMount {
  const number = earlier.filter((mount) => mount.kind === 'ssh').length;
  return {
    kind: 'ssh',
    id: options.id || 'default',
    target: mountPoint(stage, options.target || `/run/buildkit/ssh_agent.${number}`, options, source),
    required: options.required,
    mode: options.mode ?? 0o600,
    uid: options.uid ?? 0,
    gid: options.gid ?? 0,
    place: placeOf(source, options.location),
  };
}

function mountPoint(stage: StageState, target: string, options: MountOptions, source: Source): string {
  const path = absolutePath(stage.workingDir, target).replace(/(?<=.)\/\.?$/, '');
  if (path === '/') throw source.invalid('MOUNT_INVALID', options.location, 'a mount cannot cover the root directory');
  return path;
}
