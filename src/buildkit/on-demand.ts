import type { Socket } from 'node:net';
import type { BuildKit, SessionBuild, SessionOffer } from './port.ts';

/** BuildKit's services, loaded when the first client asks for them: most daemons serve none, and theirs is the memory. */
export class BuildKitOnDemand implements BuildKit {
  readonly #load: () => Promise<BuildKit>;
  #loaded: Promise<BuildKit> | undefined;

  constructor(load: () => Promise<BuildKit>) {
    this.#load = load;
  }

  async attachSession(offer: SessionOffer, connect: () => Promise<Socket>): Promise<void> {
    return (await this.#get()).attachSession(offer, connect);
  }

  async serve(socket: Socket): Promise<void> {
    await (await this.#get()).serve(socket);
  }

  async build(build: SessionBuild, options: Parameters<BuildKit['build']>[1]): ReturnType<BuildKit['build']> {
    return (await this.#get()).build(build, options);
  }

  async close(): Promise<void> {
    if (this.#loaded !== undefined) await (await this.#loaded).close();
  }

  #get(): Promise<BuildKit> {
    this.#loaded ??= this.#load();
    return this.#loaded;
  }
}
