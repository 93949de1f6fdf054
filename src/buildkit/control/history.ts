import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { EngineError } from '../../base/errors.ts';
import {
  type BuildHistoryEvent,
  BuildHistoryEventSchema,
  BuildHistoryEventType,
  type BuildHistoryRecord,
  BuildHistoryRecordSchema,
  type BuildHistoryRequest,
  type UpdateBuildHistoryRequest,
} from '../gen/control_pb.ts';
import { toGrpcError } from '../grpc/errors.ts';
import type { Solve } from './solver.ts';

/** The latest builds, as `buildx history` lists them. In memory: it is gone with the daemon. */
const limit = 100;

type Counts = { cached: number; total: number; completed: number; warnings: number };

export class BuildHistory {
  readonly #records = new Map<string, BuildHistoryRecord>();
  readonly #listeners = new Set<(event: BuildHistoryEvent) => void>();
  readonly #countsOf: (ref: string) => Counts | undefined;

  constructor(countsOf: (ref: string) => Counts | undefined) {
    this.#countsOf = countsOf;
  }

  /** Values of build arguments are left out: people put secrets there. */
  async record(solve: Solve, run: () => Promise<Record<string, string>>): Promise<Record<string, string>> {
    const record = create(BuildHistoryRecordSchema, {
      Ref: solve.ref,
      Frontend: solve.frontend,
      FrontendAttrs: Object.fromEntries(Object.entries(solve.frontendAttrs).filter(([name]) => !name.startsWith('build-arg:'))),
      Exporters: solve.exporters.map(({ type, attrs }) => ({ Type: type, Attrs: { ...attrs } })),
      CreatedAt: timestampFromMs(Date.now()),
    });
    this.#tell(BuildHistoryEventType.STARTED, record);
    try {
      const response = await run();
      record.ExporterResponse = response;
      return response;
    } catch (error) {
      const { code, rawMessage } = toGrpcError(error);
      record.error = { $typeName: 'google.rpc.Status', code, message: rawMessage, details: [] };
      throw error;
    } finally {
      record.CompletedAt = timestampFromMs(Date.now());
      const counts = this.#countsOf(solve.ref);
      if (counts !== undefined) {
        record.numCachedSteps = counts.cached;
        record.numTotalSteps = counts.total;
        record.numCompletedSteps = counts.completed;
        record.numWarnings = counts.warnings;
      }
      record.Generation++;
      this.#keep(record);
    }
  }

  async *listen(request: BuildHistoryRequest, signal: AbortSignal): AsyncGenerator<BuildHistoryEvent> {
    const wanted = (record: BuildHistoryRecord) => request.Ref === '' || request.Ref === record.Ref;
    const queue: BuildHistoryEvent[] = [];
    let wake: (() => void) | undefined;
    const listener = (event: BuildHistoryEvent) => {
      if (event.record === undefined || !wanted(event.record)) return;
      // Whoever does not read misses the oldest.
      if (queue.push(event) > 10 * limit) queue.shift();
      wake?.();
    };
    this.#listeners.add(listener);
    const abort = () => wake?.();
    signal.addEventListener('abort', abort);
    try {
      if (!request.ActiveOnly) {
        for (const record of this.#records.values()) if (wanted(record)) yield eventOf(BuildHistoryEventType.COMPLETE, record);
      }
      if (request.EarlyExit) return;
      while (!signal.aborted) {
        const event = queue.shift();
        if (event !== undefined) yield event;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      this.#listeners.delete(listener);
      signal.removeEventListener('abort', abort);
    }
  }

  update({ Ref: ref, Pinned: pinned, Delete: remove, Finalize: finalize }: UpdateBuildHistoryRequest): void {
    const record = this.#records.get(ref);
    if (record === undefined) throw new EngineError('NotFound', 'BUILD_NOT_FOUND', `there is no record of build ${ref.slice(0, 100)}`);
    if (remove) {
      this.#records.delete(ref);
      this.#tell(BuildHistoryEventType.DELETED, record);
    } else if (!finalize) record.pinned = pinned;
  }

  #keep(record: BuildHistoryRecord): void {
    this.#records.set(record.Ref, record);
    for (const [ref, { pinned }] of this.#records) {
      if (this.#records.size <= limit) break;
      if (!pinned) this.#records.delete(ref);
    }
    this.#tell(BuildHistoryEventType.COMPLETE, record);
  }

  #tell(type: BuildHistoryEventType, record: BuildHistoryRecord): void {
    for (const listener of this.#listeners) listener(eventOf(type, record));
  }
}

function eventOf(type: BuildHistoryEventType, record: BuildHistoryRecord): BuildHistoryEvent {
  return create(BuildHistoryEventSchema, { type, record });
}
