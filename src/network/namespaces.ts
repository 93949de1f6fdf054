import { existsSync, mkdirSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../base/errors.ts';
import { statfs } from '../kernel/files.ts';
import { unmountIfMounted } from '../kernel/mount.ts';
import { createNetns } from '../kernel/namespace.ts';

const nsfsMagic = 0x6e73_6673;

/** Network namespaces as files in one folder, each named by its container. */
export class Namespaces {
  private readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  pathOf(containerId: string): string {
    return join(this.directory, containerId);
  }

  /** A file of that name without a namespace behind it (after a reboot, or a crash between the two) is replaced. */
  async create(containerId: string): Promise<string> {
    const path = this.pathOf(containerId);
    if (!existsSync(this.directory)) mkdirSync(this.directory, { recursive: true, mode: 0o755 });
    if (!this.isLive(containerId)) await rm(path, { force: true });
    createNetns(path);
    return path;
  }

  /** Whether the file is a namespace. */
  isLive(containerId: string): boolean {
    try {
      return Number(statfs(this.pathOf(containerId)).type) === nsfsMagic;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return false;
      throw error;
    }
  }

  /** Unmounts and removes the file. The kernel ends the namespace with the last process in it. */
  async remove(containerId: string): Promise<void> {
    const path = this.pathOf(containerId);
    unmountIfMounted(path);
    await rm(path, { force: true });
  }

  async list(): Promise<string[]> {
    try {
      return await readdir(this.directory);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return [];
      throw error;
    }
  }
}
