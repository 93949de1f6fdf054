import { mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';

type Request = { Name: string; ID: string; Opts?: Record<string, string> };

/** A volume plugin as people write them: folders, a count of mounts that is as good as its callers, errors in `Err`. */
export class FakeVolumePlugin {
  readonly calls: string[] = [];
  /** Never answer again. */
  stuck = false;
  readonly #folder: string;
  readonly #volumes = new Map<string, number>();
  readonly #server: Server;

  constructor(folder: string) {
    this.#folder = folder;
    this.#server = createServer((request, response) => {
      let text = '';
      request.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      request.on('end', () => {
        if (this.stuck) return;
        const method = (request.url ?? '').slice(1);
        this.calls.push(method.replace('VolumeDriver.', ''));
        response.end(JSON.stringify(this.#answer(method, JSON.parse(text || '{}') as Request)));
      });
    });
  }

  listen(socket: string): Promise<void> {
    return new Promise((resolve) => this.#server.listen(socket, resolve));
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  mounts(name: string): number {
    return this.#volumes.get(name) ?? 0;
  }

  #answer(method: string, { Name, Opts }: Request): unknown {
    if (method === 'Plugin.Activate') return { Implements: ['VolumeDriver'] };
    if (method === 'VolumeDriver.List') return { Volumes: [...this.#volumes.keys()].map((name) => this.#volume(name)), Err: '' };
    if (method === 'VolumeDriver.Create') return this.#create(Name, Opts ?? {});
    const mounts = this.#volumes.get(Name);
    if (mounts === undefined) return { Err: `volume ${Name} not found` };
    switch (method) {
      case 'VolumeDriver.Get':
        return { Volume: { ...this.#volume(Name), Status: { mounts } }, Err: '' };
      case 'VolumeDriver.Path':
        return { Mountpoint: mounts > 0 ? this.#path(Name) : '' };
      case 'VolumeDriver.Mount':
        this.#volumes.set(Name, mounts + 1);
        return { Mountpoint: this.#path(Name) };
      case 'VolumeDriver.Unmount':
        if (mounts === 0) return { Err: `volume ${Name} is not mounted` };
        this.#volumes.set(Name, mounts - 1);
        return {};
      case 'VolumeDriver.Remove':
        if (mounts > 0) return { Err: `volume ${Name} is mounted` };
        this.#volumes.delete(Name);
        rmSync(this.#path(Name), { recursive: true });
        return {};
      default:
        return { Err: `no such method ${method}` };
    }
  }

  #create(name: string, options: Record<string, string>): unknown {
    const [unknown] = Object.keys(options).filter((key) => key !== 'size');
    if (unknown !== undefined) return { Err: `unknown option ${unknown}` };
    if (!this.#volumes.has(name)) this.#volumes.set(name, 0);
    mkdirSync(this.#path(name), { recursive: true });
    return {};
  }

  #volume(name: string) {
    return { Name: name, Mountpoint: (this.#volumes.get(name) ?? 0) > 0 ? this.#path(name) : '' };
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }
}
