import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bindMount, unmount } from '../../src/kernel/mount.ts';
import type { StepRequest, StepRunner } from '../../src/runtime/port.ts';

/** Runs build steps with chroot(2) alone: real processes in real snapshots, for tests of everything but isolation. Root only. */
export class ChrootSteps implements StepRunner {
  runs = 0;

  async run(step: StepRequest): Promise<{ exitCode: number; stubs: string[] }> {
    this.runs++;
    const targets: string[] = [];
    const stubs: string[] = [];
    try {
      for (const { source, destination, readOnly } of step.mounts) {
        const target = join(step.rootfs, destination);
        if (makeTarget(source, target)) stubs.push(destination.slice(1));
        bindMount(source, target, { readOnly });
        targets.push(target);
      }
      return { exitCode: await runIn(step), stubs };
    } finally {
      for (const target of targets.reverse()) unmount(target, { detach: true });
    }
  }
}

/** What a mount is put on: a folder, or a file for anything else. Answers whether it had to be made. */
function makeTarget(source: string, target: string): boolean {
  if (statSync(source).isDirectory()) return mkdirSync(target, { recursive: true }) !== undefined;
  if (existsSync(target)) return false;
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, '');
  return true;
}

function runIn(step: StepRequest): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn('/usr/bin/unshare', [`--root=${step.rootfs}`, `--wd=${step.workingDir}`, '--', ...step.args], {
      env: Object.fromEntries(step.env.map((item) => [item.slice(0, item.indexOf('=')), item.slice(item.indexOf('=') + 1)])),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const kill = () => void (child.pid !== undefined && process.kill(-child.pid, 'SIGKILL'));
    step.signal?.addEventListener('abort', kill, { once: true });
    child.stdout.on('data', (data: Buffer) => step.onOutput('stdout', data));
    child.stderr.on('data', (data: Buffer) => step.onOutput('stderr', data));
    child.on('error', reject);
    child.on('close', (code) => {
      step.signal?.removeEventListener('abort', kill);
      resolve(code ?? 137);
    });
  });
}
