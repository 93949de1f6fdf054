import { randomUUID } from 'node:crypto';
import { chmodSync, chownSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { mountFilesystem, unmount, unmountIfMounted } from '../../kernel/mount.ts';
import { errorAt } from '../graph/place.ts';
import type { RunOperation, SecretMount, SshMount } from '../graph/vertex.ts';
import { type SecretProviders, type SecretSource, type SshAgents, secretLimitBytes } from '../secrets.ts';
import { serveAgent } from './agent-proxy.ts';

export type StepSecrets = {
  readonly mounts: readonly { source: string; destination: string; readOnly: boolean }[];
  readonly env: readonly (readonly [name: string, value: string])[];
  close(): Promise<void>;
};

const nothing: StepSecrets = { mounts: [], env: [], close: async () => undefined };
/** MOUNT_ATTR_NOSUID, NODEV and NOEXEC. */
const attributes = 2 | 4 | 8;

/**
 * Puts the secrets and agent sockets of a step into a tmpfs of their own below `directory`, which no other user can enter, and takes it away in `close`. The
 * values are nowhere else: the kernel is asked not to swap that memory out (tmpfs `noswap`, Linux 6.4).
 */
export async function openStepSecrets(operation: RunOperation, providers: SecretProviders, directory: string): Promise<StepSecrets> {
  const wanted = operation.mounts.filter((mount) => mount.kind === 'secret' || mount.kind === 'ssh');
  if (wanted.length === 0) return nothing;
  await using cleanup = new AsyncDisposableStack();
  const folder = await memoryFolder(directory, cleanup);
  const mounts: { source: string; destination: string; readOnly: boolean }[] = [];
  const env: [string, string][] = [];
  for (const [index, mount] of wanted.entries()) {
    const source = join(folder, String(index));
    if (mount.kind === 'ssh') {
      if (await openAgent(mount, providers.ssh, source, cleanup)) mounts.push({ source, destination: mount.target, readOnly: false });
      continue;
    }
    const value = await secretValue(mount, providers.secrets);
    if (value === undefined) continue;
    if (mount.env !== undefined) env.push([mount.env, Buffer.from(value).toString('utf8')]);
    if (mount.target === undefined) continue;
    writeFileSync(source, value, { mode: 0o400 });
    own(source, mount);
    mounts.push({ source, destination: mount.target, readOnly: true });
  }
  const kept = cleanup.move();
  return { mounts, env, close: () => kept.disposeAsync() };
}

/** Takes away what a crash left. */
export async function removeLeftSecrets(directory: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    throw error;
  }
  for (const name of names) {
    unmountIfMounted(join(directory, name));
    await rm(join(directory, name), { recursive: true, force: true });
  }
}

async function memoryFolder(directory: string, cleanup: AsyncDisposableStack): Promise<string> {
  const folder = join(directory, randomUUID().slice(0, 8));
  await mkdir(folder, { recursive: true, mode: 0o700 });
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  const mountIt = (more: readonly (readonly [string])[]) =>
    mountFilesystem({ type: 'tmpfs', source: 'slipway-secrets', target: folder, attributes, options: [['mode', '0700'], ...more] });
  try {
    mountIt([['noswap']]);
  } catch (error) {
    if (!isErrno(error, 'EINVAL')) throw error;
    mountIt([]);
  }
  cleanup.defer(() => unmount(folder, { detach: true }));
  return folder;
}

function own(path: string, { uid, gid, mode }: { uid: number; gid: number; mode: number }): void {
  chownSync(path, uid, gid);
  // Last: a change of owner takes setuid away.
  chmodSync(path, mode & 0o7777);
}

async function secretValue(mount: SecretMount, secrets: SecretSource | undefined): Promise<Uint8Array | undefined> {
  const value = await secrets?.get(mount.id);
  if (value === undefined && mount.required) {
    throw errorAt(mount.place, 'InvalidArgument', 'SECRET_MISSING', `the secret ${mount.id} is required and was not given`, {
      hint: `Give it with --secret id=${mount.id},src=FILE or --secret id=${mount.id},env=NAME.`,
    });
  }
  if (value !== undefined && value.length > secretLimitBytes) {
    throw errorAt(mount.place, 'InvalidArgument', 'SECRET_TOO_LARGE', `the secret ${mount.id} has more than ${secretLimitBytes} bytes`);
  }
  if (mount.env !== undefined && value?.includes(0) === true) {
    throw errorAt(mount.place, 'InvalidArgument', 'SECRET_INVALID', `the secret ${mount.id} has a zero byte, so it cannot be a variable`, {
      hint: 'Mount it as a file, with target= instead of env=.',
    });
  }
  return value;
}

/** False when there is no such agent and the step can do without. */
async function openAgent(mount: SshMount, agents: SshAgents | undefined, path: string, cleanup: AsyncDisposableStack): Promise<boolean> {
  const first = await connectAgent(mount, agents);
  if (first === undefined) {
    if (!mount.required) return false;
    throw errorAt(mount.place, 'InvalidArgument', 'SSH_AGENT_MISSING', `the ssh agent ${mount.id} is required and was not given`, {
      hint: 'Give it with --ssh default.',
    });
  }
  // Only to see that somebody answers; each connection of the step gets its own.
  first.destroy();
  const served = await serveAgent(path, () => connectAgent(mount, agents));
  cleanup.defer(() => served.close());
  own(path, mount);
  return true;
}

async function connectAgent(mount: SshMount, agents: SshAgents | undefined): ReturnType<SshAgents['connect']> {
  try {
    return await agents?.connect(mount.id);
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    throw errorAt(mount.place, 'Unavailable', 'SSH_AGENT_UNREACHABLE', `the ssh agent ${mount.id} does not answer`, { cause });
  }
}
