import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { EngineError } from '../../base/errors.ts';

/** A line of apt's sources: `deb URI release main`. */
export type AptSource = { readonly uri: string; readonly release: string };

/** Where the packages of a suite come from, and the newest date of those archives in seconds: what is made of them can be dated by it. */
export type SuiteSources = { readonly sources: readonly AptSource[]; readonly epochSeconds: number | undefined };

const debianMirror = 'http://deb.debian.org/debian/';
const debianSecurityMirror = 'http://deb.debian.org/debian-security/';
const fetchTimeoutMs = 15_000;

/**
 * Finds the archives of a Debian suite: the given mirror, else those that this host's apt uses (so that it works behind a mirror), else
 * Debian's own. NotFound `SUITE_NOT_FOUND`. An archive that this process cannot ask is left to apt, which may know a proxy.
 */
export async function findSources(suite: string, mirror: string | undefined, signal: AbortSignal | undefined): Promise<SuiteSources> {
  const candidates = mirror === undefined ? fromHost(suite, await hostTargets(signal)) : fromMirror(suite, withSlash(mirror));
  const asked = await Promise.all(candidates.map(async (source) => ({ source, answer: await askRelease(source, signal) })));
  signal?.throwIfAborted();
  for (const { source, answer } of asked)
    if (source.release === suite && answer.state === 'missing') throw suiteNotFound(suite, source.uri);
  // Updates and security fixes have archives of their own, which not every suite has.
  const sources = asked.filter(({ source, answer }) => source.release === suite || answer.state === 'present').map(({ source }) => source);
  const dates = asked.flatMap(({ answer }) =>
    answer.state === 'present' && answer.epochSeconds !== undefined ? [answer.epochSeconds] : [],
  );
  return { sources, epochSeconds: dates.length === 0 ? undefined : Math.max(...dates) };
}

export function suiteNotFound(suite: string, uri: string): EngineError {
  return new EngineError('NotFound', 'SUITE_NOT_FOUND', `there is no Debian suite "${suite}" at ${uri}`, {
    hint: 'Use the code name of a release, for example bookworm or trixie, or give another archive with --mirror.',
  });
}

function fromMirror(suite: string, uri: string): AptSource[] {
  return [
    { uri, release: suite },
    { uri, release: `${suite}-updates` },
  ];
}

/** The host's own archives of this suite, or its Debian mirror asked for this suite. */
export function fromHost(suite: string, targets: readonly AptSource[]): AptSource[] {
  const releases = [suite, `${suite}-updates`, `${suite}-security`];
  const exact = targets.filter(({ release }) => releases.includes(release));
  if (exact.some(({ release }) => release === suite)) return exact;
  const main = targets.find(({ uri }) => /\/debian\/$/.test(uri))?.uri ?? debianMirror;
  const security = targets.find(({ uri }) => /\/debian-security\/$/.test(uri))?.uri ?? debianSecurityMirror;
  return [...fromMirror(suite, main), { uri: security, release: `${suite}-security` }];
}

/** What this host's apt is configured to read, whatever the form of its configuration; empty where there is no apt. */
async function hostTargets(signal: AbortSignal | undefined): Promise<AptSource[]> {
  try {
    const format = '$(REPO_URI)|$(RELEASE)|$(COMPONENT)';
    const { stdout } = await promisify(execFile)('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'], {
      timeout: 30_000,
      maxBuffer: 16 << 20,
      ...(signal === undefined ? {} : { signal }),
    });
    return parseTargets(stdout);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof Error) return []; // no apt, or one that is broken: Debian's own mirror then
    throw error;
  }
}

/** `uri|release|component` a line; only `main` of archives that can be reached from a chroot. */
export function parseTargets(text: string): AptSource[] {
  const found = new Map<string, AptSource>();
  for (const line of text.split('\n')) {
    const [uri = '', release = '', component = ''] = line.split('|');
    if (component !== 'main' || !/^(https?|file):\/\//.test(uri)) continue;
    found.set(`${uri} ${release}`, { uri: withSlash(uri), release });
  }
  return [...found.values()];
}

type Answer = { state: 'present'; epochSeconds: number | undefined } | { state: 'missing' } | { state: 'unknown' };

async function askRelease({ uri, release }: AptSource, signal: AbortSignal | undefined): Promise<Answer> {
  if (uri.startsWith('file://')) {
    return existsSync(new URL(`dists/${release}/`, uri)) ? { state: 'present', epochSeconds: undefined } : { state: 'missing' };
  }
  const limits = [AbortSignal.timeout(fetchTimeoutMs), ...(signal === undefined ? [] : [signal])];
  try {
    const response = await fetch(`${uri}dists/${release}/InRelease`, { signal: AbortSignal.any(limits) });
    if (response.status === 404) return { state: 'missing' };
    if (!response.ok) return { state: 'unknown' };
    const date = /^Date: (.+)$/m.exec(await response.text())?.[1];
    const milliseconds = date === undefined ? Number.NaN : Date.parse(date);
    return { state: 'present', epochSeconds: Number.isNaN(milliseconds) ? undefined : Math.floor(milliseconds / 1000) };
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof Error) return { state: 'unknown' };
    throw error;
  }
}

function withSlash(uri: string): string {
  return uri.endsWith('/') ? uri : `${uri}/`;
}
