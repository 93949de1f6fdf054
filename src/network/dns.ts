import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../base/errors.ts';
import { runCommand } from './command.ts';

/** aardvark-dns's life beyond netavark, which starts it with the first name and tells it of changes. */
export class Dns {
  private readonly aardvarkPath: string | undefined;
  private readonly zones: string;

  constructor(options: { aardvarkPath: string | undefined; configDirectory: string }) {
    this.aardvarkPath = options.aardvarkPath;
    this.zones = join(options.configDirectory, 'aardvark-dns');
  }

  /** Starts it again when there are names to serve and it is gone. True when it did. */
  async revive(): Promise<boolean> {
    if (this.aardvarkPath === undefined || !(await this.hasNames()) || (await this.isRunning())) return false;
    await runCommand(this.aardvarkPath, ['--config', this.zones, '-p', '53', 'run'], { debianPackage: 'aardvark-dns' });
    return true;
  }

  private async hasNames(): Promise<boolean> {
    return (await readdir(this.zones).catch(absent([]))).some((name) => name !== 'aardvark.pid');
  }

  /** The pid file may be left from a killed one, and its number another program's by now. */
  private async isRunning(): Promise<boolean> {
    const pid = (await readFile(join(this.zones, 'aardvark.pid'), 'utf8').catch(absent(''))).trim();
    if (!/^\d+$/.test(pid)) return false;
    return (await readFile(`/proc/${pid}/comm`, 'utf8').catch(absent(''))).trim() === 'aardvark-dns';
  }
}

function absent<T>(instead: T): (error: unknown) => T {
  return (error) => {
    if (isErrno(error, 'ENOENT', 'ESRCH')) return instead;
    throw error;
  };
}
