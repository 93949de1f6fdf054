import type { BuildDebugLine, BuildLine, BuildResultLine } from '../api-types/build.ts';
import { toErrorData } from '../base/errors.ts';
import type { BuildEvent, BuildRequest, BuildResult } from '../build/port.ts';
import { familiar, parseReference } from '../oci/reference.ts';
import { toErrorObject } from './errors.ts';
import { progress } from './stream.ts';

/** How a build is told to its client. Each method gives the bytes to send, or '' for nothing. */
export interface BuildOutput {
  readonly contentType: string;
  event(event: BuildEvent): string;
  debug(line: BuildDebugLine): string;
  result(result: BuildResult, request: BuildRequest): string;
  error(error: unknown): string;
}

/** Slipway's JSON lines (docs/formats/api.md). */
export class LinesOutput implements BuildOutput {
  readonly contentType = 'application/vnd.slipway.build+json';

  event(event: BuildEvent): string {
    return this.#line(event.kind === 'output' ? { ...event, data: event.data.toString('base64') } : event);
  }

  debug(line: BuildDebugLine): string {
    return this.#line(line);
  }

  result(result: BuildResult, request: BuildRequest): string {
    const line: BuildResultLine = {
      kind: 'result',
      ...(result.image === undefined ? {} : { imageId: result.image.id }),
      tree: result.tree.id,
      content: result.tree.content,
      ...platformsOf(result),
      tags: result.image === undefined ? [] : request.tags.map(shown),
      vertices: result.vertices,
      cachedVertices: result.cachedVertices,
      durationMs: result.durationMs,
    };
    return this.#line(line);
  }

  error(error: unknown): string {
    return this.#line({ kind: 'error', error: toErrorObject(error) });
  }

  #line(line: BuildLine): string {
    return `${JSON.stringify(line)}\n`;
  }
}

function platformsOf({ platforms, image }: BuildResult): Pick<BuildResultLine, 'platforms' | 'indexDigest'> {
  if (platforms === undefined) return {};
  const digest = image?.origin?.index?.digest;
  return {
    platforms: platforms.map(({ platform, tree }) => ({ platform, tree: tree.id })),
    ...(digest === undefined ? {} : { indexDigest: digest }),
  };
}

/** Docker's classic builder: text in `stream`, the id in `aux`. With `quiet` only the id. */
export class ClassicOutput implements BuildOutput {
  readonly contentType = 'application/json';
  readonly #quiet: boolean;
  readonly #aux: boolean;
  readonly #announced = new Set<string>();

  /** `aux`: the client knows lines of that kind (API 1.30). */
  constructor({ quiet, aux }: { quiet: boolean; aux: boolean }) {
    this.#quiet = quiet;
    this.#aux = aux;
  }

  event(event: BuildEvent): string {
    if (this.#quiet) return '';
    switch (event.kind) {
      case 'output':
        return progress({ stream: event.data.toString('utf8') });
      case 'warning':
        return progress({ stream: `[Warning] ${event.message}\n` });
      case 'vertex': {
        const title = this.#announced.has(event.vertex) ? '' : progress({ stream: `${event.name}\n` });
        this.#announced.add(event.vertex);
        return title + (event.state === 'cached' ? progress({ stream: ' ---> Using cache\n' }) : '');
      }
    }
  }

  /** Its clients cannot know what to do with one. */
  debug(): string {
    return '';
  }

  result({ image, tree }: BuildResult, request: BuildRequest): string {
    const id = image?.id ?? `sha256:${tree.id}`;
    if (this.#quiet) return progress({ stream: `${id}\n` });
    const tagged = request.tags.map((tag) => progress({ stream: `Successfully tagged ${shown(tag)}\n` }));
    return [
      this.#aux ? progress({ aux: { ID: id } }) : '',
      progress({ stream: `Successfully built ${id.slice(7, 19)}\n` }),
      ...tagged,
    ].join('');
  }

  error(error: unknown): string {
    const { message, exitCode } = toErrorData(error);
    return progress({ errorDetail: { ...(exitCode === undefined ? {} : { code: exitCode }), message }, error: message });
  }
}

function shown(reference: string): string {
  return familiar(parseReference(reference));
}
