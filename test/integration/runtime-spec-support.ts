import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { unmountIfMounted } from '../../src/kernel/mount.ts';
import { createNetns } from '../../src/kernel/namespace.ts';
import { PortsOnly } from './runtime-support.ts';

/** Namespaces at `<run>/netns/<id>` with nothing in them, as `Networks` promises for one that is there already. */
export class EmptyNetworks extends PortsOnly {
  directory = '';
  override async openNamespace(id?: string): Promise<string> {
    const path = join(this.directory, String(id));
    mkdirSync(this.directory, { recursive: true });
    if (!existsSync(path)) createNetns(path);
    return path;
  }
  override async attach(id?: string): Promise<{ netns: string; endpoints: [] }> {
    return { netns: join(this.directory, String(id)), endpoints: [] };
  }
  override async detach(id?: string): Promise<void> {
    unmountIfMounted(join(this.directory, String(id)));
  }
}
