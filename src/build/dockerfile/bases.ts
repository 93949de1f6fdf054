import { EngineError } from '../../base/errors.ts';
import { suggestion } from '../../base/nearest.ts';
import { emptyImageConfig } from '../../oci/config.ts';
import type { Platform } from '../../oci/image.ts';
import { formatPlatform } from '../../oci/platform.ts';
import { familiar, parseReference } from '../../oci/reference.ts';
import type { TreeId } from '../../store/model.ts';
import type { ImageRecord } from '../../store/port.ts';
import type { GraphBuilder } from '../graph/builder.ts';
import type { VertexId } from '../graph/vertex.ts';
import { Variables } from './environment.ts';
import { remoteVertex } from './remote.ts';
import type { Location } from './source.ts';
import { placeOf, type StageBase } from './stage.ts';
import type { Dockerfile } from './syntax.ts';

/** What a name in FROM or --from may stand for instead of an image (`--build-context`). */
export type ContextReference =
  | { readonly kind: 'image'; readonly reference: string }
  /** http(s) or git; an archive is unpacked. */
  | { readonly kind: 'remote'; readonly url: string }
  /** Files that came with the request under this name. */
  | { readonly kind: 'files' };

export type BasesOptions = {
  readonly file: Dockerfile;
  readonly graph: GraphBuilder;
  readonly contexts: Readonly<Record<string, ContextReference>>;
  /** Throws NotFound when there is no such image. Without a platform the one that is here will do. */
  readonly resolveImage: (reference: string, platform: Platform | undefined) => Promise<ImageRecord>;
};

/** What stages stand on and copy from that is no stage: images, named contexts, nothing. */
export class Bases {
  readonly #options: BasesOptions;
  readonly #contexts: ReadonlyMap<string, { readonly name: string; readonly context: ContextReference }>;
  readonly #images = new Map<string, Promise<ImageRecord>>();

  constructor(options: BasesOptions) {
    this.#options = options;
    this.#contexts = new Map(Object.entries(options.contexts).map(([name, context]) => [contextName(name), { name, context }]));
  }

  isContext(name: string): boolean {
    return this.#contexts.has(contextName(name));
  }

  scratch(platform?: Platform): StageBase {
    return this.#empty(this.#options.graph.add({ name: 'scratch', lineage: 'scratch', operation: { kind: 'scratch' } }), platform);
  }

  /** For FROM. `image` is there when it is one. */
  async base(
    name: string,
    location: Location,
    platform?: Platform,
  ): Promise<{ base: StageBase; triggers: readonly string[]; image?: ImageRecord | undefined }> {
    const named = this.#contexts.get(contextName(name));
    if (named !== undefined && named.context.kind !== 'image') {
      return { base: this.#empty(this.#contextVertex(named.name, named.context, location), platform), triggers: [] };
    }
    const reference = named?.context.kind === 'image' ? named.context.reference : name;
    if (reference === 'scratch') return { base: this.scratch(platform), triggers: [] };
    const image = await this.#image(reference, location, platform);
    return {
      base: {
        vertex: this.#imageVertex(reference, image, location),
        config: image.config,
        history: image.history.map((entry) => ({ entry })),
        variables: Variables.fromList(image.config.config?.Env ?? []),
        buildArgs: [],
        workdirSet: false,
      },
      triggers: image.config.config?.OnBuild ?? [],
      image,
    };
  }

  /** For --from and from=. */
  async files(name: string, location: Location, platform?: Platform): Promise<VertexId> {
    const named = this.#contexts.get(contextName(name));
    if (named !== undefined && named.context.kind !== 'image') return this.#contextVertex(named.name, named.context, location);
    const reference = named?.context.kind === 'image' ? named.context.reference : name;
    if (reference === 'scratch') return this.scratch().vertex;
    return this.#imageVertex(reference, await this.#image(reference, location, platform), location);
  }

  #empty(vertex: VertexId, platform: Platform | undefined): StageBase {
    const config = emptyImageConfig(platform);
    return {
      vertex,
      config: { ...config, config: { ...config.config, WorkingDir: '/' } },
      history: [],
      variables: new Variables(),
      buildArgs: [],
      workdirSet: false,
    };
  }

  #contextVertex(name: string, context: Exclude<ContextReference, { kind: 'image' }>, location: Location): VertexId {
    const { graph, file } = this.#options;
    if (context.kind === 'remote') return remoteVertex(graph, context.url, { source: file.source, location, name, unpack: true }).vertex;
    return graph.add({
      name: `context ${name}`,
      lineage: `context|${name}`,
      operation: { kind: 'context', name },
      place: placeOf(file.source, location),
    });
  }

  #imageVertex(name: string, image: ImageRecord, location: Location): VertexId {
    const { graph, file } = this.#options;
    const tree = { id: image.tree as TreeId, content: image.treeContent };
    return graph.add({
      name: `FROM ${name}`,
      lineage: `image|${name}`,
      operation: { kind: 'image', reference: name, tree },
      place: placeOf(file.source, location),
    });
  }

  async #image(name: string, location: Location, platform: Platform | undefined): Promise<ImageRecord> {
    const key = platform === undefined ? name : `${name} ${formatPlatform(platform)}`;
    let found = this.#images.get(key);
    if (found === undefined) {
      found = this.#options.resolveImage(name, platform);
      this.#images.set(key, found);
    }
    try {
      return await found;
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      const { source, stages } = this.#options.file;
      const names = stages.map((stage) => stage.from.name).filter((stage) => stage !== undefined);
      const hint = [suggestion(name, names, 'the stage '), error.hint].filter((part) => part !== undefined).join(' ');
      throw source.error(error.kind, error.code, location, error.message, { hint: hint === '' ? undefined : hint, cause: error });
    }
  }
}

/** One spelling for each name: `docker.io/library/alpine:latest` is `alpine`. */
function contextName(name: string): string {
  try {
    return familiar(parseReference(name.toLowerCase())).replace(/:latest$/, '');
  } catch (error) {
    if (error instanceof EngineError) return name.toLowerCase();
    throw error;
  }
}
