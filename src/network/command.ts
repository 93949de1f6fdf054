import { spawn } from 'node:child_process';
import { EngineError, isErrno } from '../base/errors.ts';
import { inNetns } from '../kernel/namespace.ts';

export type CommandResult = { exitCode: number; stdout: string; stderr: string };
export type CommandOptions = {
  input?: string | undefined;
  env?: Record<string, string> | undefined;
  /** Runs the command inside this network namespace. */
  netns?: string | undefined;
  timeoutMs?: number | undefined;
  /** The Debian package that has the command, for the hint when it is missing. */
  debianPackage: string;
};

/** The tools of network administration are in sbin, which the PATH of a service or of sudo may leave out. */
const path = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;

/**
 * Runs a helper to its end and collects its output (which is short). Resolves whatever its exit status; `exitCode` is -1 after a signal.
 * Throws Unavailable `HELPER_MISSING` when there is no such command and Unavailable `HELPER_TIMEOUT` after `timeoutMs` (default 30 s).
 */
export async function runCommand(file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const start = () =>
    spawn(file, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { PATH: path, LC_ALL: 'C', ...options.env },
      // A session of its own: what the helper leaves running (aardvark-dns) must not get the terminal's Ctrl-C.
      detached: true,
    });
  // The child is forked before spawn returns, so it is born in the namespace.
  let child = undefined as ReturnType<typeof start> | undefined;
  if (options.netns === undefined) child = start();
  else {
    inNetns(options.netns, () => {
      child = start();
    });
  }
  if (child === undefined) throw new Error(`${file} was not started`);
  return collect(child, file, options);
}

function collect(child: ReturnType<typeof spawn>, file: string, options: CommandOptions): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const timeoutMs = options.timeoutMs ?? 30_000;
    const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(isErrno(error, 'ENOENT') ? missingHelper(file, options.debianPackage, error) : error);
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      if (timedOut)
        reject(new EngineError('Unavailable', 'HELPER_TIMEOUT', `${file} did not end within ${timeoutMs / 1000} s and was killed`));
      else resolve({ exitCode: code ?? -1, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() });
    });
    // A helper that ends without reading its input is judged by its exit status.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input ?? '');
  });
}

function missingHelper(file: string, debianPackage: string, cause: unknown): EngineError {
  return new EngineError('Unavailable', 'HELPER_MISSING', `${file} is not installed, and bridge networks need it`, {
    hint: `Install it (apt-get install -y ${debianPackage}), or use --network host.`,
    cause,
  });
}
