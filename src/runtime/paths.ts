import { join } from 'node:path';

/** Where the runtime keeps things. `root` outlives a reboot, `run` does not. All absolute host paths. */
export class RuntimePaths {
  readonly root: string;
  readonly run: string;

  constructor(paths: { root: string; run: string }) {
    this.root = paths.root;
    this.run = paths.run;
  }

  get containers(): string {
    return join(this.root, 'containers');
  }

  container(id: string, ...rest: string[]): string {
    return join(this.root, 'containers', id, ...rest);
  }

  /** The folder of the spool, docs/formats/log-spool.md. */
  log(id: string): string {
    return this.container(id, 'log');
  }

  /** The file in it that the monitor writes. */
  spool(id: string): string {
    return this.container(id, 'log', 'spool');
  }

  get bundles(): string {
    return join(this.run, 'c');
  }

  /** The OCI bundle and the monitor's files. */
  bundle(id: string, ...rest: string[]): string {
    return join(this.run, 'c', id, ...rest);
  }
}
