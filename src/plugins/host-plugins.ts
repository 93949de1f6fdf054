import { PluginClient } from './client.ts';
import { dockerPluginFolders, findPlugin, type PluginFolders } from './discovery.ts';
import type { Plugin, Plugins } from './port.ts';

/** A plugin that is stuck must not hold up a listing. */
const activateMs = 3_000;

/** Plugins that were started on the host by whoever runs it; this engine starts none. */
export class HostPlugins implements Plugins {
  readonly #folders: PluginFolders;

  constructor(folders: PluginFolders = dockerPluginFolders) {
    this.#folders = folders;
  }

  async find(name: string, kind: string): Promise<Plugin | undefined> {
    const address = await findPlugin(name, this.#folders);
    if (address === undefined) return undefined;
    const plugin = new PluginClient(name, address);
    const { Implements } = await plugin.call('Plugin.Activate', {}, activateMs);
    return Array.isArray(Implements) && Implements.includes(kind) ? plugin : undefined;
  }
}
