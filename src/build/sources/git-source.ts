import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { toBytes } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { sha256 } from '../../oci/digest.ts';
import type { TreeRef } from '../../store/model.ts';
import type { Store } from '../../store/port.ts';
import type { GitOperation } from '../graph/vertex.ts';
import type { SecretProviders } from '../secrets.ts';
import { canonical } from '../solver/keys.ts';
import { serveAgent } from '../steps/agent-proxy.ts';
import { shownUrl } from './download.ts';
import { type GitOptions, runGit } from './git-program.ts';
import type { SourceOptions, SourceTree } from './http-source.ts';

type GitStore = Pick<Store, 'trees' | 'actions' | 'uses' | 'paths'>;
export type GitSourceOptions = SourceOptions & { readonly providers: SecretProviders };

const fullCommit = /^([0-9a-f]{40}|[0-9a-f]{64})$/;

/**
 * Commits of git repositories, as trees, through the `git` program. The remote is asked which commit a name stands for each time; a commit that is known is not
 * fetched again. An ssh agent `default` of the build, and its secret `GIT_AUTH_TOKEN` (or `GIT_AUTH_TOKEN.<host>`), are used to log in.
 */
export class GitSource {
  readonly #store: GitStore;

  constructor(options: { store: GitStore }) {
    this.#store = options.store;
  }

  async tree(operation: GitOperation, options: GitSourceOptions): Promise<SourceTree> {
    await using cleanup = new AsyncDisposableStack();
    const git: GitOptions = { signal: options.signal, ...(await access(operation, options, cleanup)) };
    const resolved = await resolveRef(operation, git);
    refuseOther(operation, resolved.commit);
    const key = sourceKey(operation, resolved.commit);
    const known = await this.#store.actions.get(key);
    if (known !== undefined && (await options.lease.tryAdd(known.tree.id))) {
      await this.#store.uses.touch('action', key);
      return { tree: known.tree, fetched: false, digest: commitSet(resolved.commit) };
    }
    const folder = join(this.#store.paths.tmp, `git-${randomUUID()}`);
    cleanup.defer(() => rm(folder, { recursive: true, force: true }));
    await mkdir(folder, { recursive: true, mode: 0o755 });
    await checkOut(operation, resolved, folder, git);
    const tree = await this.#ingest(operation, folder, options);
    await this.#store.actions.put(key, { tree });
    return { tree, fetched: true, digest: commitSet(resolved.commit) };
  }

  async #ingest(operation: GitOperation, folder: string, { signal, lease }: GitSourceOptions): Promise<TreeRef> {
    if (!operation.keepGitDirectory) await rm(join(folder, '.git'), { recursive: true, force: true });
    const { trees } = this.#store;
    const made = await trees.ingest({ path: folder, owner: { uid: 0, gid: 0 } }, { signal, lease });
    const { subdirectory } = operation;
    if (subdirectory === undefined) return { id: made.id, content: made.content };
    const entry = await trees.lookup(made.id, toBytes(subdirectory), { follow: true });
    if (entry === undefined || !('full' in entry)) {
      throw new EngineError('InvalidArgument', 'SOURCE_INVALID', `${shownUrl(operation.remote)} has no directory ${subdirectory}`);
    }
    const source = toBytes(subdirectory);
    return trees.edit(trees.empty.id, [{ op: 'copy', from: made.id, source, dest: toBytes(''), contents: true }], { signal, lease });
  }
}

function commitSet(commit: string): SourceTree['digest'] {
  return { [commit.length === 64 ? 'sha256' : 'sha1']: commit };
}

function sourceKey({ remote, subdirectory = '', keepGitDirectory, submodules }: GitOperation, commit: string) {
  // The remote too: of a commit that is the same elsewhere, submodules and .git say where it came from.
  return sha256(canonical(['slipway-source-1', 'git', { remote, commit, subdirectory, keepGitDirectory, submodules }]));
}

type Resolved = { readonly commit: string /** What to ask the remote for. */; readonly name: string };

/** As git-checkout does: an exact ref, else a branch, else a tag (what an annotated one points at). */
async function resolveRef({ remote, ref }: GitOperation, git: GitOptions): Promise<Resolved> {
  if (ref !== undefined && fullCommit.test(ref)) return { commit: ref, name: ref };
  const wanted = ref ?? 'HEAD';
  const lines = (await runGit(['ls-remote', '--', remote, wanted, `${wanted}^{}`], git)).split('\n').map((line) => line.split('\t'));
  const commits = new Map(lines.map(([commit = '', name = '']) => [name, commit]));
  for (const name of [wanted, `refs/${wanted}`, `refs/heads/${wanted}`, `refs/tags/${wanted}`]) {
    const commit = commits.get(`${name}^{}`) ?? commits.get(name);
    if (commit !== undefined && fullCommit.test(commit)) return { commit, name };
  }
  throw new EngineError('NotFound', 'SOURCE_NOT_FOUND', `${shownUrl(remote)} has no branch, tag or commit ${wanted}`, {
    hint: 'A commit has to be written out in full.',
  });
}

function refuseOther({ remote, checksum }: GitOperation, commit: string): void {
  if (checksum === undefined || commit.startsWith(checksum)) return;
  throw new EngineError(
    'InvalidArgument',
    'SOURCE_DIGEST_MISMATCH',
    `${shownUrl(remote)} is not what the checksum says: expected ${checksum}, got ${commit}`,
    {
      hint: 'When the new commit is the right one, change the checksum.',
    },
  );
}

async function checkOut(operation: GitOperation, { commit, name }: Resolved, folder: string, git: GitOptions): Promise<void> {
  const inside: GitOptions = { ...git, cwd: folder };
  await runGit(['init', '--quiet', '--initial-branch=main', '.'], inside);
  await runGit(['remote', 'add', 'origin', operation.remote], inside);
  await fetchCommit(commit, name, inside);
  await runGit(['-c', 'core.symlinks=true', 'checkout', '--quiet', '--force', '--detach', commit], inside);
  if (operation.submodules && existsSync(join(folder, '.gitmodules'))) {
    await runGit(['submodule', '--quiet', 'update', '--init', '--recursive', '--depth=1'], inside);
    if (operation.keepGitDirectory) return;
    const paths = await runGit(['submodule', '--quiet', 'foreach', '--recursive', 'printf "%s\\0" "$displaypath"'], inside);
    for (const path of paths.split('\0')) if (path !== '') await rm(join(folder, path, '.git'), { force: true });
  }
}

/** By its digest; a server that gives commits by name only is asked by name. */
async function fetchCommit(commit: string, name: string, git: GitOptions): Promise<void> {
  const fetch = (...what: string[]) => runGit(['fetch', '--quiet', '--no-tags', ...what], git);
  try {
    await fetch('--depth=1', 'origin', commit);
    return;
  } catch (error) {
    if (!(error instanceof EngineError) || error.code !== 'GIT_FAILED') throw error;
  }
  if (fullCommit.test(name)) await fetch('origin', '+refs/heads/*:refs/remotes/origin/*', '+refs/tags/*:refs/tags/*');
  else await fetch('--depth=1', 'origin', name);
  // The name may have moved since; then it is for the caller to try again.
  await runGit(['cat-file', '-e', `${commit}^{commit}`], git);
}

async function access(
  { remote }: GitOperation,
  { providers }: GitSourceOptions,
  cleanup: AsyncDisposableStack,
): Promise<Pick<GitOptions, 'settings' | 'env'>> {
  if (/^https?:\/\//i.test(remote) && URL.canParse(remote)) {
    const { host, origin } = new URL(remote);
    const token = (await providers.secrets?.get(`GIT_AUTH_TOKEN.${host}`)) ?? (await providers.secrets?.get('GIT_AUTH_TOKEN'));
    if (token === undefined) return {};
    const pair = Buffer.from(`x-access-token:${Buffer.from(token).toString('utf8').trim()}`).toString('base64');
    return { settings: [[`http.${origin}/.extraHeader`, `Authorization: Basic ${pair}`]] };
  }
  const agents = providers.ssh;
  const first = await agents?.connect('default');
  if (agents === undefined || first === undefined) return {};
  first.destroy();
  const path = `/run/slipway-git-${randomUUID().slice(0, 8)}.sock`;
  const served = await serveAgent(path, () => agents.connect('default'));
  cleanup.defer(() => served.close());
  return { env: { SSH_AUTH_SOCK: path } };
}
