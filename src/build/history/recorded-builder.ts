import { EngineError, toErrorData } from '../../base/errors.ts';
import type { BuildEvent, Builder, BuildRequest, BuildResult } from '../port.ts';
import type { BuildHistory } from './history.ts';

/** A builder whose builds are kept in a history. */
export class RecordedBuilder implements Builder {
  readonly #builder: Builder;
  readonly #history: BuildHistory;

  constructor(options: { builder: Builder; history: BuildHistory }) {
    this.#builder = options.builder;
    this.#history = options.history;
  }

  async build(request: BuildRequest, options: { onEvent: (event: BuildEvent) => void; signal?: AbortSignal }): Promise<BuildResult> {
    // Nothing is built: BuildKit's clients have checks left out, too.
    if (request.output.kind === 'check') return this.#builder.build(request, options);
    const { dockerfile, tags, target } = request;
    const name = 'text' in dockerfile ? dockerfile.name : dockerfile.path;
    // A disk that is full must not keep a build from being tried.
    const recording = await this.#history.begin({ name, tags, target }).catch(() => undefined);
    const onEvent = (event: BuildEvent) => {
      recording?.event(event);
      options.onEvent(event);
    };
    try {
      const result = await this.#builder.build(request, { ...options, onEvent });
      const { vertices, cachedVertices, attestations } = result;
      await recording?.finish({ state: 'done', imageId: result.image?.id, tree: result.tree.id, vertices, cachedVertices, attestations });
      return result;
    } catch (error) {
      const cancelled = options.signal?.aborted === true || (error instanceof EngineError && error.kind === 'Cancelled');
      await recording?.finish({ state: cancelled ? 'cancelled' : 'failed', error: toErrorData(error).message });
      throw error;
    }
  }
}
