import { create } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { EngineError } from '../../base/errors.ts';
import type { BuildCacheMounts } from '../../build/cache/port.ts';
import { type Control, InfoResponseSchema, type SolveRequest, SolveResponseSchema } from '../gen/control_pb.ts';
import { toGrpcError } from '../grpc/errors.ts';
import type { ExportRequest } from '../port.ts';
import { cacheExportsOf } from './caches.ts';
import type { BuildHistory } from './history.ts';
import type { BuildJobs } from './jobs.ts';
import type { SolveRunner } from './solver.ts';
import { pruneCaches, usageOf } from './usage.ts';
import { type WorkerFacts, workerRecord } from './worker.ts';

export type ControlOptions = {
  solver: SolveRunner;
  jobs: BuildJobs;
  history: BuildHistory;
  caches?: BuildCacheMounts | undefined;
  worker: WorkerFacts;
  shutdown: AbortSignal;
};

/** BuildKit's Control service (api/services/control/control.proto). */
export function controlService({ solver, jobs, history, caches, worker, shutdown }: ControlOptions): ServiceImpl<typeof Control> {
  const stopOf = (context: HandlerContext) => AbortSignal.any([context.signal, shutdown]);
  return {
    async solve(request, context) {
      return answered(async () => {
        refuseGraph(request);
        const exports = cacheExportsOf(request.Cache?.Exports ?? []);
        const solve = {
          ref: request.Ref,
          session: request.Session,
          frontend: request.Frontend,
          frontendAttrs: request.FrontendAttrs,
          exporters: exportersOf(request),
          entitlements: request.Entitlements,
          cacheExports: exports.caches,
          warnings: exports.warnings,
        };
        const run = () => solver.solve(solve, stopOf(context));
        return create(SolveResponseSchema, { ExporterResponse: request.Internal ? await run() : await history.record(solve, run) });
      });
    },
    async *status(request, context) {
      const stop = stopOf(context);
      const progress = await answered(() => jobs.progress(request.Ref, stop));
      yield* progress.watch(stop);
    },
    async listWorkers() {
      return { record: [workerRecord(worker)] };
    },
    async info() {
      return create(InfoResponseSchema, { buildkitVersion: { package: 'slipway', version: worker.version, revision: '' } });
    },
    async diskUsage(request) {
      return answered(async () => ({ record: await usageOf(caches, request.filter) }));
    },
    async *prune(request) {
      yield* await answered(() => pruneCaches(caches, request));
    },
    session() {
      throw toGrpcError(new EngineError('Unsupported', 'SESSION_UNSUPPORTED', 'sessions are opened with POST /session'));
    },
    async *listenBuildHistory(request, context) {
      yield* history.listen(request, stopOf(context));
    },
    async updateBuildHistory(request) {
      return answered(async () => {
        history.update(request);
        return {};
      });
    },
  };
}

/** Errors of the engine as gRPC has them. */
export async function answered<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw toGrpcError(error);
  }
}

function refuseGraph(request: SolveRequest): void {
  if ((request.Definition?.def.length ?? 0) === 0 && Object.keys(request.FrontendInputs).length === 0) return;
  throw new EngineError('Unsupported', 'GRAPH_UNSUPPORTED', 'graphs in the form of LLB are not taken', {
    hint: 'Build from a Dockerfile.',
  });
}

/** Newer clients fill both fields, older ones the deprecated one. */
function exportersOf(request: SolveRequest): ExportRequest[] {
  if (request.Exporters.length > 0) return request.Exporters.map(({ Type, Attrs }) => ({ type: Type, attrs: Attrs }));
  if (request.ExporterDeprecated === '') return [];
  return [{ type: request.ExporterDeprecated, attrs: request.ExporterAttrsDeprecated }];
}
