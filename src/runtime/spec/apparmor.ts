import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import type { HostConfig } from '../../api-types/container.ts';
import { EngineError, isErrno } from '../../base/errors.ts';

/** Docker's name for it: tools look for containers under this profile. */
export const defaultProfileName = 'docker-default';

const profilesFile = '/sys/kernel/security/apparmor/profiles';

/** The profile to run under: what was asked, Docker's default, none where the host has no AppArmor. */
export function apparmorProfile(
  asked: string | undefined,
  host: Pick<HostConfig, 'Privileged'>,
  loaded: readonly string[] | undefined,
): string | undefined {
  if (loaded === undefined) return undefined;
  return asked ?? (host.Privileged ? 'unconfined' : defaultProfileName);
}

/** Names of loaded profiles; undefined when the kernel runs without AppArmor. */
export function loadedApparmorProfiles(
  paths: { enabled: string; profiles: string } = { enabled: '/sys/module/apparmor/parameters/enabled', profiles: profilesFile },
): string[] | undefined {
  try {
    if (readFileSync(paths.enabled, 'latin1').trim() !== 'Y') return undefined;
    return readFileSync(paths.profiles, 'latin1')
      .split('\n')
      .flatMap((line) => /^(.+) \(\w+\)$/.exec(line)?.[1] ?? []);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EACCES', 'EPERM')) return undefined;
    throw error;
  }
}

/**
 * What Docker's default allows and denies. Everything but: mounting, tracing and signalling what is outside, writing to kernel settings in
 * /proc and /sys that are not the container's own, raw access to the host's memory and firmware, the kernel's crypto sockets.
 */
export function defaultProfile(name: string, engine: string, includes: { global: boolean; base: boolean; abi: boolean }): string {
  const own = JSON.stringify(name);
  const numberedOrSys = '{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}';
  const deniedWrites = ['/sys/[^f]*/**', '/sys/f[^s]*/**', '/sys/fs/[^c]*/**', '/sys/fs/c[^g]*/**', '/sys/fs/cg[^r]*/**'];
  const deniedWholly = ['/sys/firmware/**', '/sys/devices/virtual/powercap/**', '/sys/kernel/security/**'];
  return [
    // Later versions take unix sockets out of "network".
    ...(includes.abi ? ['abi <abi/3.0>,'] : []),
    includes.global ? '#include <tunables/global>' : '@{PROC}=/proc/',
    `profile ${own} flags=(attach_disconnected,mediate_deleted) {`,
    ...(includes.base ? ['  #include <abstractions/base>'] : []),
    '  network,',
    '  deny network alg,',
    '  capability,',
    '  file,',
    '  umount,',
    ...['unconfined', 'runc', 'crun', JSON.stringify(engine)].map((peer) => `  signal (receive) peer=${peer},`),
    `  signal (send,receive) peer=${own},`,
    '  deny @{PROC}/* w,',
    `  deny @{PROC}/${numberedOrSys}/** w,`,
    '  deny @{PROC}/sys/[^k]** w,',
    '  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,',
    '  deny @{PROC}/sysrq-trigger rwklx,',
    '  deny @{PROC}/kcore rwklx,',
    '  deny mount,',
    ...deniedWrites.map((path) => `  deny ${path} wklx,`),
    ...deniedWholly.map((path) => `  deny ${path} rwklx,`),
    `  ptrace (trace,tracedby,read,readby) peer=${own},`,
    '}',
    '',
  ].join('\n');
}

/**
 * Loads the default profile where the kernel has AppArmor and the profile is not there: upgrades of the distribution unload what they do not
 * know. Unavailable `APPARMOR_FAILED` when it cannot be; containers then need apparmor=unconfined.
 */
export async function ensureDefaultProfile(
  profile: string | undefined,
  options: { loaded?: () => readonly string[] | undefined; parser?: string } = {},
): Promise<void> {
  if (profile !== defaultProfileName) return;
  const loaded = (options.loaded ?? loadedApparmorProfiles)();
  if (loaded === undefined || loaded.includes(defaultProfileName)) return;
  const etc = '/etc/apparmor.d';
  const text = defaultProfile(defaultProfileName, ownProfile(), {
    global: existsSync(`${etc}/tunables/global`),
    base: existsSync(`${etc}/abstractions/base`),
    abi: existsSync(`${etc}/abi/3.0`),
  });
  const said = await load(options.parser ?? 'apparmor_parser', text);
  if (said === undefined) return;
  throw new EngineError(
    'Unavailable',
    'APPARMOR_FAILED',
    `AppArmor enabled on system but the ${defaultProfileName} profile could not be loaded: ${said}`,
    {
      hint: 'apt-get install apparmor, or run the container with --security-opt apparmor=unconfined.',
      exitCode: 125,
    },
  );
}

/** What this process itself runs under; `unconfined` when nothing says otherwise. */
function ownProfile(): string {
  try {
    return (
      readFileSync('/proc/self/attr/current', 'latin1')
        .replace(/\0/g, '')
        .trim()
        .replace(/ \(\w+\)$/, '') || 'unconfined'
    );
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EINVAL')) return 'unconfined';
    throw error;
  }
}

/** Replaces the kernel's copy; the cache is skipped, which would be of another text of this name. Undefined, or what went wrong. */
function load(parser: string, text: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(parser, ['-Kr'], { stdio: ['pipe', 'ignore', 'pipe'], timeout: 10_000, killSignal: 'SIGKILL' });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      said = (said + chunk).slice(0, 4_096);
    });
    child.on('error', (error) => resolve(isErrno(error, 'ENOENT') ? `${parser} is not installed` : String(error)));
    child.on('close', (code) => resolve(code === 0 ? undefined : said.trim() || `${parser} ended with status ${code}`));
    child.stdin.on('error', () => undefined);
    child.stdin.end(text);
  });
}
