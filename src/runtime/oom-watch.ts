import { type FSWatcher, watch } from 'node:fs';
import { isErrno } from '../base/errors.ts';
import type { Container } from './container.ts';
import type { EngineContext } from './context.ts';

/**
 * Tells when the kernel kills in a container for want of memory, while the container goes on: the monitor, which the kernel tells (v1 memory.oom_control, v2
 * memory.events), makes a file then.
 */
export class OomWatch {
  readonly #context: EngineContext;
  readonly #watchers = new Map<string, FSWatcher>();

  constructor(context: EngineContext) {
    this.#context = context;
  }

  begin(container: Container): void {
    this.end(container);
    container.oomTold = false;
    try {
      const watcher = watch(this.#context.paths.bundle(container.id), { persistent: false }, (_, name) => {
        if (name === this.#context.monitor.oomFile) this.#tell(container);
      });
      // The folder goes with the container.
      watcher.on('error', () => this.end(container));
      this.#watchers.set(container.id, watcher);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return;
      // Out of inotify's instances or watches: the end tells it too.
      this.#context.report(container.id, error);
    }
  }

  end(container: Container): void {
    this.#watchers.get(container.id)?.close();
    this.#watchers.delete(container.id);
  }

  close(): void {
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #tell(container: Container): void {
    this.end(container);
    if (container.oomTold || container.record.state.status !== 'running') return;
    container.oomTold = true;
    this.#context.emit(container, 'oom');
  }
}
