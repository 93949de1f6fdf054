import { createHash } from 'node:crypto';
import { chmod, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { listMounts, unmount } from '../kernel/mount.ts';
import { defaultPath, emptyImageConfig } from '../oci/config.ts';
import { type Hex, sha256 } from '../oci/digest.ts';
import type { ImageConfig } from '../oci/image.ts';
import { hostPlatform } from '../oci/platform.ts';
import { canonical, parseReference, withDefaultTag } from '../oci/reference.ts';
import type { TreeRef } from '../store/model.ts';
import type { ImageRecord, Lease, Store } from '../store/port.ts';
import { makeWorkspace } from './archives/workspace.ts';
import { hostCertificateFolder, runMmdebstrap } from './bootstrap/mmdebstrap.ts';
import { findSources } from './bootstrap/sources.ts';
import type { UntarParams, UntarResult } from './untar/job.ts';

export type BootstrapOptions = {
  /** A release's code name: `bookworm`. */
  suite: string;
  /** Packages beyond the minimal set. */
  include?: readonly string[] | undefined;
  /** The image's name. */
  tag: string;
  /** mmdebstrap's; minbase when not given. */
  variant?: 'minbase' | 'apt' | 'essential' | 'important' | 'standard' | undefined;
  /** URL of a Debian archive; this host's own when not given. */
  mirror?: string | undefined;
  /** Also trust what this host's administrator added to its certificates; brings the package ca-certificates. */
  hostCertificates?: boolean | undefined;
  /** Make it anew though the same set of packages was made before. */
  refresh?: boolean | undefined;
  signal?: AbortSignal | undefined;
  onOutput?: ((line: string) => void) | undefined;
};

export type BootstrapResult = { image: ImageRecord; cached: boolean };

/**
 * Makes a Debian base image from Debian's packages, with mmdebstrap as a child process, and names it. Kept by its set of packages: asked for
 * again, it is there at once, unless `refresh`. Dated by the archive, so that the same archive gives the same image anywhere. An abort ends
 * all processes and leaves nothing. NotFound `SUITE_NOT_FOUND`, `PACKAGE_NOT_FOUND`; Unavailable `MMDEBSTRAP_MISSING`, `MIRROR_UNREACHABLE`,
 * `KEYRING_MISSING`.
 */
export async function bootstrapDebian(store: Store, options: BootstrapOptions): Promise<BootstrapResult> {
  const reference = canonical(withDefaultTag(parseReference(options.tag)));
  const request = checkRequest(options);
  const key = await cacheKey(request);
  const known = options.refresh === true ? undefined : await findKnown(store, key);
  await using lease = await store.leases.acquire({ purpose: 'bootstrap' });
  const made = known ?? (await make(store, request, lease, options));
  if (known === undefined) await store.actions.put(key, { tree: made.tree, detail: { created: made.created } });
  options.signal?.throwIfAborted();
  const image = await store.images.create({
    config: configOf(made.created),
    tree: made.tree,
    history: [{ created: made.created, created_by: `slipway bootstrap debian ${request.suite}`, comment: request.include.join(' ') }],
  });
  await store.images.tag(reference, image.id);
  return { image, cached: known !== undefined };
}

type Request = { suite: string; variant: string; include: string[]; mirror: string | undefined; hostCertificates: boolean };
type Made = { tree: TreeRef; created: string };

/** Nothing but names reaches the command line. */
function checkRequest({ suite, include = [], variant = 'minbase', mirror, hostCertificates = false }: BootstrapOptions): Request {
  if (!/^[a-z][a-z0-9.-]{0,63}$/.test(suite)) {
    throw new EngineError('InvalidArgument', 'SUITE_INVALID', `"${suite.slice(0, 100)}" is not the name of a Debian suite`, {
      hint: 'Use the code name of a release, for example bookworm or trixie.',
    });
  }
  const packages = new Set(include);
  if (hostCertificates) packages.add('ca-certificates');
  for (const name of packages) {
    if (/^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?$/.test(name)) continue;
    throw new EngineError('InvalidArgument', 'PACKAGE_INVALID', `"${name.slice(0, 100)}" is not the name of a Debian package`);
  }
  if (mirror !== undefined && !/^(https?|file):\/\/[^\s"'|]+$/.test(mirror)) {
    throw new EngineError('InvalidArgument', 'MIRROR_INVALID', `"${mirror.slice(0, 100)}" is not the URL of a mirror`, {
      hint: 'A mirror reads like http://deb.debian.org/debian.',
    });
  }
  return { suite, variant, include: [...packages].sort(), mirror, hostCertificates };
}

async function cacheKey(request: Request): Promise<Hex> {
  const certificates = request.hostCertificates ? await certificateDigest() : '';
  return sha256(JSON.stringify(['slipway bootstrap debian 1', hostPlatform(), request, certificates]));
}

async function certificateDigest(): Promise<string> {
  const hash = createHash('sha256');
  try {
    for (const name of (await readdir(hostCertificateFolder)).sort()) {
      if (name.endsWith('.crt')) hash.update(`${name}\n`).update(await readFile(join(hostCertificateFolder, name)));
    }
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
  return hash.digest('hex');
}

async function findKnown(store: Store, key: Hex): Promise<Made | undefined> {
  const output = await store.actions.get(key);
  if (output === undefined || typeof output.detail?.created !== 'string') return undefined;
  try {
    await store.trees.get(output.tree.id);
    return { tree: output.tree, created: output.detail.created };
  } catch (error) {
    if (error instanceof EngineError && error.code === 'TREE_NOT_FOUND') return undefined;
    throw error;
  }
}

async function make(store: Store, request: Request, lease: Lease, { signal, onOutput = () => {} }: BootstrapOptions): Promise<Made> {
  await using workspace = await makeWorkspace(store.paths.tmp, 'bootstrap');
  // apt drops to a user of its own, who has to get through.
  await chmod(workspace.path, 0o755);
  const { sources, epochSeconds = sourceDateEpoch() } = await findSources(request.suite, request.mirror, signal);
  const output = join(workspace.path, 'root.tar');
  try {
    await runMmdebstrap({ ...request, sources, epochSeconds, output, workFolder: workspace.path, onOutput, signal });
  } finally {
    unmountBelow(workspace.path);
  }
  onOutput('I: storing the tree...');
  const params: UntarParams = { kind: 'plain', sources: [{ file: output, what: 'what mmdebstrap made' }] };
  const { id, content } = await store.jobs.run<UntarResult>('transport.untar', params, { signal, lease });
  return { tree: { id, content }, created: new Date(epochSeconds * 1000).toISOString() };
}

/** Removing a folder with, say, the host's /dev mounted in it would empty /dev. mmdebstrap mounts in a namespace of its own where it can. */
function unmountBelow(folder: string): void {
  const below = listMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${folder}/`));
  for (const { mountPoint } of below.reverse()) unmount(mountPoint, { detach: true });
}

function sourceDateEpoch(): number {
  const given = Number(process.env.SOURCE_DATE_EPOCH);
  return Number.isSafeInteger(given) && given > 0 ? given : Math.floor(Date.now() / 1000);
}

function configOf(created: string): ImageConfig {
  return { created, ...emptyImageConfig(), config: { Env: [defaultPath], Cmd: ['bash'] } };
}
