import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chown, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { bindMount, unmountIfMounted } from '../../kernel/mount.ts';
import { inNetns } from '../../kernel/namespace.ts';
import type { IdMap, IdRange } from '../../snapshot/port.ts';

/** A network namespace belongs to the user namespace in which it is made, and only its owner's root may set it up from inside. */
export type NamespaceFiles = { user: string; network?: string | undefined };

const helperTimeoutMs = 5_000;

/**
 * Makes a user namespace with these ids and, when asked, a network namespace that belongs to it with its loopback up, both as files without a
 * process. Nothing stays when it fails; what a crash left at these paths is replaced. The caller unmounts them.
 */
export async function makeUserNamespace(files: NamespaceFiles, idMap: IdMap): Promise<void> {
  const paths = [files.user, ...(files.network === undefined ? [] : [files.network])];
  const helper = new Helper(files.network !== undefined);
  try {
    const pid = await helper.ready();
    await writeFile(`/proc/${pid}/uid_map`, mapLines(idMap.uids));
    await writeFile(`/proc/${pid}/gid_map`, mapLines(idMap.gids));
    await bindNamespace(`/proc/${pid}/ns/user`, files.user);
    if (files.network !== undefined) {
      await bindNamespace(`/proc/${pid}/ns/net`, files.network);
      await raiseLoopback(files.network);
    }
  } catch (error) {
    for (const path of paths) await dropNamespace(path);
    if (error instanceof EngineError) throw error;
    throw new EngineError(
      'Unavailable',
      'USERNS_FAILED',
      `cannot make a user namespace: ${error instanceof Error ? error.message : String(error)}`,
      {
        hint: 'The kernel limits them: see /proc/sys/user/max_user_namespaces.',
        cause: error,
        exitCode: 125,
      },
    );
  } finally {
    await helper.end();
  }
}

/** Takes a namespace's file away. A no-op where there is none. */
export async function dropNamespace(path: string): Promise<void> {
  unmountIfMounted(path);
  await rm(path, { force: true });
}

/** The host's id of a user or group inside; undefined when it is not mapped. */
export function outsideId(ranges: readonly IdRange[], inside: number): number | undefined {
  const range = ranges.find((each) => inside >= each.inside && inside < each.inside + each.count);
  return range && range.outside + (inside - range.inside);
}

/** Gives files of the engine's to the container's root. */
export async function giveToRoot(idMap: IdMap | undefined, paths: readonly string[]): Promise<void> {
  if (idMap === undefined) return;
  const [uid, gid] = [outsideId(idMap.uids, 0), outsideId(idMap.gids, 0)];
  if (uid === undefined || gid === undefined) return;
  await Promise.all(paths.map((path) => chown(path, uid, gid)));
}

function mapLines(ranges: readonly IdRange[]): string {
  return ranges.map(({ inside, outside, count }) => `${inside} ${outside} ${count}\n`).join('');
}

async function bindNamespace(source: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  if (existsSync(path)) await dropNamespace(path);
  await writeFile(path, '', { flag: 'wx', mode: 0o444 });
  bindMount(source, path);
}

async function raiseLoopback(netns: string): Promise<void> {
  const child = inNetns(netns, () => spawn('ip', ['link', 'set', 'lo', 'up'], { stdio: 'ignore', timeout: helperTimeoutMs })) as ReturnType<
    typeof spawn
  >;
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (code !== 0) throw new Error(`ip link set lo up ended with status ${code}`);
}

/**
 * A process in the new namespaces that waits until its stdin ends. Only a program with a single thread can make a user namespace, which the
 * engine is not.
 */
class Helper {
  readonly #child;
  readonly #begun: Promise<void>;
  readonly #ended: Promise<void>;

  constructor(withNetwork: boolean) {
    const flags = ['--user', ...(withNetwork ? ['--net'] : [])];
    const child = spawn('unshare', [...flags, 'sh', '-c', 'echo && exec cat'], { stdio: ['pipe', 'pipe', 'pipe'] });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(0, 1_000);
    });
    this.#child = child;
    this.#begun = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('unshare did not answer')), helperTimeoutMs);
      child.stdout.once('data', () => resolve());
      child.once('error', reject);
      child.once('close', (code) => reject(new Error(said.trim() || `unshare ended with status ${code}`)));
      child.once('close', () => clearTimeout(timer));
      child.stdout.once('data', () => clearTimeout(timer));
    });
    this.#begun.catch(() => undefined);
    this.#ended = new Promise((resolve) => child.once('close', () => resolve()).once('error', () => resolve()));
    child.stdin.on('error', (error) => {
      if (!isErrno(error, 'EPIPE')) child.kill('SIGKILL');
    });
  }

  async ready(): Promise<number> {
    await this.#begun;
    return this.#child.pid ?? 0;
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}
