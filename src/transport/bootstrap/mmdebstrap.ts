import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { EngineError, isErrno } from '../../base/errors.ts';
import { type AptSource, suiteNotFound } from './sources.ts';

export type MmdebstrapRun = {
  readonly suite: string;
  readonly variant: string;
  readonly include: readonly string[];
  readonly sources: readonly AptSource[];
  readonly hostCertificates: boolean;
  readonly epochSeconds: number;
  /** The tar to write, and a folder for the work. */
  readonly output: string;
  readonly workFolder: string;
  readonly onOutput: (line: string) => void;
  readonly signal: AbortSignal | undefined;
};

/** Where administrators put what this host trusts beyond the distribution's own certificates (update-ca-certificates(8)). */
export const hostCertificateFolder = '/usr/local/share/ca-certificates';

/** What a container does not read, as Debian's own slim images leave it out; copyright notices stay. */
const slim = [
  'path-exclude=/usr/share/doc/*',
  'path-include=/usr/share/doc/*/copyright',
  'path-exclude=/usr/share/man/*',
  'path-exclude=/usr/share/info/*',
  'path-exclude=/usr/share/groff/*',
  'path-exclude=/usr/share/lintian/*',
  'path-exclude=/usr/share/linda/*',
  'path-exclude=/usr/share/locale/*',
  'path-include=/usr/share/locale/locale.alias',
];

const keptLines = 60;

/**
 * In name spaces of its own: whatever apt and dpkg start ends when it does, what they mount is seen by nobody else, and all of it ends at
 * once when this process is killed, so that nothing writes on into a folder that the next start empties.
 */
const confined = ['--pdeathsig', 'KILL', 'unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];

/** Runs mmdebstrap to its end. On abort it is ended with all its children. Errors say what to do about the usual causes. */
export async function runMmdebstrap(run: MmdebstrapRun): Promise<void> {
  const child = spawn('setpriv', [...confined, 'mmdebstrap', ...argumentsOf(run)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      ...(await aptProxies()),
      LC_ALL: 'C.UTF-8',
      TMPDIR: run.workFolder,
      SOURCE_DATE_EPOCH: String(run.epochSeconds),
    },
  });
  const lines: string[] = [];
  const log = createInterface({ input: child.stderr });
  log.on('line', (line) => {
    lines.push(line);
    if (lines.length > keptLines) lines.shift();
    run.onOutput(line);
  });
  const status = await ended(child, run.signal);
  run.signal?.throwIfAborted();
  if (status !== 0) throw explain(lines, status, run);
}

function argumentsOf(run: MmdebstrapRun): string[] {
  const certificates = run.hostCertificates
    ? [`--customize-hook=copy-in ${hostCertificateFolder} /usr/local/share/`, '--customize-hook=chroot "$1" update-ca-certificates']
    : [];
  return [
    `--variant=${run.variant}`,
    '--format=tar',
    ...(run.include.length === 0 ? [] : [`--include=${run.include.join(',')}`]),
    ...slim.map((option) => `--dpkgopt=${option}`),
    '--aptopt=Acquire::Languages "none"',
    ...certificates,
    // The host's own; a container gets its own when it starts.
    '--customize-hook=rm -f "$1/etc/resolv.conf" "$1/etc/hostname"',
    run.suite,
    run.output,
    ...run.sources.map(({ uri, release }) => `deb ${uri} ${release} main`),
  ];
}

/** apt's own proxy settings as the variables that apt also obeys, so that none of them ends up inside the image. */
async function aptProxies(): Promise<Record<string, string>> {
  try {
    const { stdout } = await promisify(execFile)('apt-config', [
      'dump',
      '--format',
      '%f %v%n',
      'Acquire::http::Proxy',
      'Acquire::https::Proxy',
    ]);
    const found = [...stdout.matchAll(/^Acquire::(https?)::Proxy (\S+)$/gm)];
    return Object.fromEntries(found.map(([, scheme = '', proxy = '']) => [`${scheme}_proxy`, proxy]));
  } catch (error) {
    if (error instanceof Error) return {}; // no apt-config: then there is nothing to inherit
    throw error;
  }
}

/** The exit status; null when a signal ended it. Rejects when it cannot be started. Resolves when no child of it has its output open. */
function ended(child: ChildProcess, signal: AbortSignal | undefined): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const stop = () => void child.kill('SIGKILL');
    const settle = () => signal?.removeEventListener('abort', stop);
    child.once('error', (error) => {
      settle();
      reject(isErrno(error, 'ENOENT') ? mmdebstrapMissing(error) : error);
    });
    child.once('close', (status) => {
      settle();
      resolve(status);
    });
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}

function mmdebstrapMissing(cause?: unknown): EngineError {
  return new EngineError('Unavailable', 'MMDEBSTRAP_MISSING', 'mmdebstrap, which makes Debian bases, is not installed', {
    hint: 'Install it: apt-get install mmdebstrap. Or bring a root file system in with "slipway import".',
    cause,
  });
}

/** The usual causes, by what apt and mmdebstrap print: they have no other way to tell. */
export function explain(lines: readonly string[], status: number | null, run: Pick<MmdebstrapRun, 'suite' | 'sources'>): EngineError {
  const text = lines.join('\n');
  const mirror = run.sources[0]?.uri ?? 'the mirror';
  if (/failed to execute mmdebstrap/.test(text)) return mmdebstrapMissing();
  const unknownPackage = /Unable to locate package (\S+)|Package '?(\S+?)'? has no installation candidate/.exec(text);
  if (unknownPackage !== null) {
    return new EngineError(
      'NotFound',
      'PACKAGE_NOT_FOUND',
      `${run.suite} has no package "${unknownPackage[1] ?? unknownPackage[2]}" at ${mirror}`,
      {
        hint: 'Look the name up at https://packages.debian.org, and check --include.',
      },
    );
  }
  if (
    /Could not resolve|Temporary failure resolving|Could not connect|Cannot initiate the connection|Network is unreachable|Connection timed out|Unable to connect/.test(
      text,
    )
  ) {
    return new EngineError('Unavailable', 'MIRROR_UNREACHABLE', `the Debian mirror ${mirror} cannot be reached`, {
      hint: 'Check the network, or name a mirror that this host reaches with --mirror URL. Without a network, bring an image in with "slipway load" or "slipway import".',
    });
  }
  if (/NO_PUBKEY|is not signed|signatures couldn't be verified|cannot find.*keyring/.test(text)) {
    return new EngineError('Unavailable', 'KEYRING_MISSING', `the archive ${mirror} is signed with a key that this host does not have`, {
      hint: 'Install Debian’s keys: apt-get install debian-archive-keyring.',
    });
  }
  if (/does not have a Release file|404 {2}Not Found.*dists/.test(text)) return suiteNotFound(run.suite, mirror);
  if (/No space left on device/.test(text)) {
    return new EngineError('NoSpace', 'ENOSPC', 'the disk is full: a minimal Debian takes about 600 MB while it is made', {
      hint: "Free space on the file system that holds the engine's root, or give another one with --root.",
    });
  }
  const reasons = lines.filter((line) => line.startsWith('E:')).slice(-3);
  const ending = status === null ? 'was ended by a signal' : `ended with status ${status}`;
  return new EngineError(
    'Unavailable',
    'BOOTSTRAP_FAILED',
    `mmdebstrap ${ending}: ${(reasons.length > 0 ? reasons : lines.slice(-3)).join(' ')}`,
    {
      hint: 'Its output above says more; "slipway doctor" shows what this host lacks.',
    },
  );
}
