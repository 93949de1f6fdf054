import { spawn } from 'node:child_process';
import { EngineError, isErrno } from '../../base/errors.ts';

const outputLimitBytes = 1024 * 1024;

/** The repository's settings, hooks and helpers are its own: none of them runs here, and nobody is asked for a password. */
const settings = [
  ['core.hooksPath', '/dev/null'],
  ['protocol.ext.allow', 'never'],
  ['protocol.file.allow', 'user'],
  ['credential.helper', ''],
  ['advice.detachedHead', 'false'],
  ['gc.auto', '0'],
] as const;

export type GitOptions = {
  readonly signal: AbortSignal;
  readonly cwd?: string | undefined;
  /** More settings, for this call only. They go by the environment, so that no other user sees them. */
  readonly settings?: readonly (readonly [name: string, value: string])[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
};

/**
 * Runs `git` and gives its standard output. The process and all that it started are killed when the signal aborts. Throws Unavailable `GIT_MISSING` when the
 * program is not installed, and `GIT_FAILED` with the last lines that it wrote.
 */
export function runGit(args: readonly string[], options: GitOptions): Promise<string> {
  const { signal, cwd } = options;
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const child = spawn('git', args, { cwd, env: environment(options), stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const abort = () => {
      if (child.pid !== undefined) killGroup(child.pid);
    };
    signal.addEventListener('abort', abort, { once: true });
    let out = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
      if (out.length > outputLimitBytes) abort();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-4_096);
    });
    child.once('error', (error) => {
      signal.removeEventListener('abort', abort);
      reject(isErrno(error, 'ENOENT') ? missing(error) : error);
    });
    child.once('close', (code) => {
      signal.removeEventListener('abort', abort);
      if (signal.aborted) reject(new EngineError('Cancelled', 'CANCELLED', 'the build was cancelled'));
      else if (code === 0) resolve(out);
      else
        reject(new EngineError('Unavailable', 'GIT_FAILED', `git ${args[0] ?? ''} failed: ${lastLines(errors) || `exit status ${code}`}`));
    });
  });
}

function environment({ settings: more = [], env = {} }: GitOptions): Record<string, string> {
  const all = [...settings, ...more];
  const entries = all.flatMap(([name, value], index) => [
    [`GIT_CONFIG_KEY_${index}`, name],
    [`GIT_CONFIG_VALUE_${index}`, value],
  ]);
  const inherited = [
    'PATH',
    'HOME',
    'SSL_CERT_FILE',
    'SSL_CERT_DIR',
    'HTTP_PROXY',
    'HTTPS_PROXY',
    'NO_PROXY',
    'http_proxy',
    'https_proxy',
    'no_proxy',
  ];
  return {
    ...Object.fromEntries(inherited.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]))),
    LC_ALL: 'C',
    GIT_TERMINAL_PROMPT: '0',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ASKPASS: '/bin/false',
    GIT_SSH_COMMAND: 'ssh -o BatchMode=yes -o ConnectTimeout=30',
    GIT_CONFIG_COUNT: String(all.length),
    ...Object.fromEntries(entries),
    ...env,
  };
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (!isErrno(error, 'ESRCH')) throw error;
  }
}

function missing(cause: unknown): EngineError {
  return new EngineError('Unavailable', 'GIT_MISSING', 'git is not installed on the host of the engine', {
    hint: 'Install it there, as with: apt install git',
    cause,
  });
}

function lastLines(text: string): string {
  return text
    .trim()
    .split('\n')
    .slice(-3)
    .join('; ')
    .replace(/([a-z0-9+]+:\/\/)[^/@\s]*@/gi, '$1');
}
