import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { O } from './files.ts';
import { errnoNumbers, SystemCallError } from './libc.ts';

/** `count` ids from `inside` on are those from `outside` on in the engine's own namespace (user_namespaces(7)). */
export type IdMapping = { readonly inside: number; readonly outside: number; readonly count: number };

/**
 * A user namespace with these maps, as a descriptor that keeps it alive: for idmapped mounts. Made by a child that ends at once. EINVAL or EPERM when the
 * kernel does not take the maps; ENOSPC where user namespaces are switched off.
 */
export async function openUserNamespace(uids: readonly IdMapping[], gids: readonly IdMapping[]): Promise<number> {
  // It says a byte once it is in its namespace, and waits for its stdin to close.
  const child = spawn('unshare', ['--user', 'sh', '-c', 'echo; read _'], { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = once(child, 'close').catch(() => undefined);
  try {
    await inNamespace(child);
    await writeFile(`/proc/${child.pid}/uid_map`, mapText(uids));
    await writeFile(`/proc/${child.pid}/gid_map`, mapText(gids));
    return openSync(`/proc/${child.pid}/ns/user`, O.RDONLY | O.CLOEXEC);
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
}

function mapText(mappings: readonly IdMapping[]): string {
  return mappings.map(({ inside, outside, count }) => `${inside} ${outside} ${count}\n`).join('');
}

function inNamespace(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = '';
    child.stderr?.on('data', (text: Buffer) => {
      said += text.toString();
    });
    child.on('error', reject);
    child.stdout?.once('data', () => resolve());
    child.once('close', () => reject(new SystemCallError('unshare', errnoNumbers.ENOSPC ?? 28, 'CLONE_NEWUSER', said.trim())));
  });
}
