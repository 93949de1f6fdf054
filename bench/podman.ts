import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { sleep, unmountBelow } from './engine.ts';
import { inNamespace } from './namespace.ts';

const run = promisify(execFile);

/** Debian's podman on a store of its own. */
export class BenchPodman implements AsyncDisposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'slipway-bench-podman-'));
  readonly #namespaceOf: number | undefined;

  constructor(place: { namespaceOf?: number | undefined } = {}) {
    this.#namespaceOf = place.namespaceOf;
  }

  static get installed(): boolean {
    return existsSync('/usr/bin/podman');
  }

  async cli(...words: string[]): Promise<string> {
    const folders = ['--root', join(this.#directory, 'root'), '--runroot', join(this.#directory, 'run')];
    // Debian 12's crun does not know hosts with both versions of control groups.
    const drivers = ['--cgroup-manager', 'cgroupfs', '--storage-driver', 'overlay', '--runtime', '/usr/sbin/runc'];
    const [command = '', ...rest] = inNamespace(this.#namespaceOf, '/usr/bin/podman', ...folders, ...drivers, ...words);
    const { stdout } = await run(command, rest, { maxBuffer: 64 << 20 });
    return stdout.trim();
  }

  /** Those that work on this store now. */
  processes(): number[] {
    const lines = execFileSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' }).split('\n');
    return lines.filter((line) => line.includes(basename(this.#directory))).map((line) => Number.parseInt(line, 10));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What podman runs after a container has ended may come and mount its store once more.
    for (const end = performance.now() + 10_000; ; await sleep(300)) {
      await unmountBelow(this.#directory);
      try {
        rmSync(this.#directory, { recursive: true, force: true });
        return;
      } catch (error) {
        if (performance.now() > end) throw error;
      }
    }
  }
}
