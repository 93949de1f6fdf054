import { spawn } from 'node:child_process';

export type CommandResult = { exitCode: number; stdout: string; stderr: string };

const outputLimit = 4 << 20;

/** Runs a helper to its end and keeps what it said, at most 4 MiB a stream. Rejects only when it cannot be started or takes too long. */
export function runCommand(command: string, args: readonly string[], options: { timeoutMs?: number } = {}): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: options.timeoutMs ?? 30_000, killSignal: 'SIGKILL' });
    const text = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (chunk: string) => {
        if (text[stream].length < outputLimit) text[stream] += chunk;
      });
    }
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === null) reject(new Error(`${command} ${args.join(' ')} was ended by ${signal}; it said: ${text.stderr.trim()}`));
      else resolve({ exitCode: code, ...text });
    });
  });
}
