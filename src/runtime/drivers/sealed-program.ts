import { closeSync, existsSync, mkdirSync, rmSync, type Stats, statSync, symlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { errnoOf } from '../../base/errors.ts';
import { sealedCopy } from '../../kernel/sealed-copy.ts';

/** They look for the seals, and copy themselves where they do not find them. */
const selfCopying = new Set(['runc', 'crun']);

/**
 * A runtime from a sealed copy in memory. What runs in a container could else write to the program on the host through /proc/self/exe (CVE-2019-5736): so
 * runc and crun copy themselves, or mount themselves read-only, each time that they make or join a container, which takes 3 to 5 ms. One copy for all
 * starts protects as well. `directory` gets a link to it, under the program's own name.
 */
export class SealedProgram {
  readonly #program: string;
  readonly #directory: string;
  #copy: { fd: number; of: Stats; path: string } | undefined;
  #useless = false;

  constructor(program: string, directory: string) {
    this.#program = program;
    this.#directory = directory;
    // With SELinux a program's label says what it may do, and a copy has another one.
    this.#useless = !selfCopying.has(basename(program)) || existsSync('/sys/fs/selinux/enforce');
  }

  /** The path to run. The program's own when it has been replaced meanwhile and cannot be copied, or never could. */
  path(): string {
    if (this.#useless) return this.#program;
    const now = statSync(this.#program, { throwIfNoEntry: false });
    if (now === undefined) return this.#program;
    const { of, path } = this.#copy ?? {};
    if (path !== undefined && of?.ino === now.ino && of.mtimeMs === now.mtimeMs && of.size === now.size) return path;
    return this.#make(now);
  }

  close(): void {
    if (this.#copy === undefined) return;
    closeSync(this.#copy.fd);
    rmSync(this.#copy.path, { force: true });
    this.#copy = undefined;
  }

  #make(of: Stats): string {
    this.close();
    try {
      const fd = sealedCopy(this.#program);
      const path = join(this.#directory, basename(this.#program));
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      rmSync(path, { force: true });
      symlinkSync(`/proc/${process.pid}/fd/${fd}`, path);
      this.#copy = { fd, of, path };
      return path;
    } catch (error) {
      // Nothing may be run from memory here, or there is none to spare.
      if (errnoOf(error) === undefined) throw error;
      this.#useless = true;
      return this.#program;
    }
  }
}
