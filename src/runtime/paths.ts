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

  get execs(): string {
    return join(this.run, 'exec');
  }

  /** What the runtime is told of a process added to a container, while it starts it. Short, since a socket's path is. */
  exec(id: string): string {
    return join(this.execs, id.slice(0, 16));
  }

  /** The network namespace that `Networks` keeps for a container. */
  netns(id: string): string {
    return join(this.run, 'netns', id);
  }

  /** The OCI bundle and the monitor's files. */
  bundle(id: string, ...rest: string[]): string {
    return join(this.run, 'c', id, ...rest);
  }
}
