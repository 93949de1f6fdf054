import { randomBytes } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { toBytes, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { type Entry, EntryType } from '../../store/model.ts';
import type { Store } from '../../store/port.ts';
import { goMode } from '../filesync/mode.ts';
import { type Stat, StatSchema } from '../gen/fsutil_pb.ts';
import { type LLBBridge, type Result, ResultSchema, type SolveRequest } from '../gen/gateway_pb.ts';
import { fromGrpcStatus } from '../grpc/errors.ts';
import { answered } from './control-service.ts';
import type { BuildJob, BuildJobs } from './jobs.ts';
import { defineResult, type ResultAddress, readResultDefinition } from './result-definition.ts';
import type { SolveRunner } from './solver.ts';
import { type WorkerFacts, workerRecord } from './worker.ts';

type Options = { solver: SolveRunner; jobs: BuildJobs; store: Pick<Store, 'trees'>; worker: WorkerFacts; shutdown: AbortSignal };

/** What may be asked for over LLBBridge (buildkit frontend/gateway/pb/caps.go). */
const frontendCaps = [
  'solve.base',
  'readfile',
  'return',
  'returnmap',
  'readdir',
  'statfile',
  'proto.refarray',
  'reference.output',
  'frontend.inputs',
  'frontend.caps',
  'gateway.solve.evaluate',
  'gateway.evaluate',
  'gateway.warnings',
];
/** What builds may need of the engine (buildkit solver/pb/caps.go). Graphs are not taken, so that only what clients look at is named. */
const solveCaps = [
  'source.image',
  'source.local',
  'source.local.unique',
  'source.local.sessionid',
  'source.local.includepatterns',
  'source.local.followpaths',
  'source.local.excludepatterns',
  'source.local.sharedkeyhint',
  'exec.meta.base',
  'exec.meta.network',
  'exec.meta.proxyenv',
  'exec.mount.bind',
  'exec.mount.cache',
  'exec.mount.cache.sharing',
  'exec.mount.selector',
  'exec.mount.tmpfs',
  'exec.mount.secret',
  'exec.mount.ssh',
  'file.base',
  'constraints',
  'platform',
  'meta.ignorecache',
  'meta.description',
  'meta.exportcache',
  'exporter.image.attestations',
  'exporter.sourcedateepoch',
  'exporter.multiple',
];
const maxFileBytes = 16 * 1024 * 1024;

/** The calls by which a client's own function drives a build (frontend/gateway/pb/gateway.proto): the Dockerfile frontend, and looking into results. */
export function bridgeService({ solver, jobs, store, worker, shutdown }: Options): ServiceImpl<typeof LLBBridge> {
  const jobOf = (context: HandlerContext): Promise<BuildJob> => {
    const ref = context.requestHeader.get('buildkit-controlapi-buildid');
    if (ref === null) throw new EngineError('InvalidArgument', 'BUILD_MISSING', 'the call names no build');
    return jobs.job(ref, AbortSignal.any([context.signal, shutdown]));
  };
  const treeOf = async (context: HandlerContext, ref: string) => (await jobOf(context)).result(ref).tree.id;
  return {
    async ping() {
      return { FrontendAPICaps: enabled(frontendCaps), LLBCaps: enabled(solveCaps), Workers: [workerRecord(worker)] };
    },
    async solve(request, context) {
      return answered(async () => {
        refuseGraph(request);
        const job = await jobOf(context);
        job.failure = undefined;
        const stop = AbortSignal.any([job.signal, context.signal]);
        const built = await solver
          .run(job, { frontend: request.Frontend, frontendAttrs: request.FrontendOpt, inputs: inputsOf(request) }, stop)
          .catch((error: unknown) => {
            job.failure = error;
            throw error;
          });
        const id = randomBytes(12).toString('hex');
        job.results.set(id, built);
        const config = Buffer.from(JSON.stringify(built.config));
        const result: Result = create(ResultSchema, {
          result: { case: 'ref', value: { id, def: defineResult({ job: job.ref, ref: id }) } },
          metadata: { 'containerimage.config': config },
        });
        return request.allowResultArrayRef || request.allowResultReturn ? { ref: '', result } : { ref: id };
      });
    },
    async return(request, context) {
      return answered(async () => {
        const job = await jobOf(context);
        if (request.error !== undefined && request.error.code !== 0) {
          job.finishGateway({ error: job.failure ?? fromGrpcStatus(request.error.code, request.error.message) });
        } else job.finishGateway({ refs: refsOf(request.result) });
        return {};
      });
    },
    async evaluate(request, context) {
      // A result is there once its solve has answered.
      await answered(() => treeOf(context, request.Ref));
      return {};
    },
    async inputs() {
      return {};
    },
    async warn(request, context) {
      return answered(async () => {
        (await jobOf(context)).progress.event({ kind: 'warning', message: Buffer.from(request.short).toString('utf8') });
        return {};
      });
    },
    async readFile(request, context) {
      return answered(async () => {
        const content = await store.trees.readFile(await treeOf(context, request.Ref), pathOf(request.FilePath), { limit: maxFileBytes });
        const { Offset = 0n, Length = 0n } = request.Range ?? {};
        const start = Number(Offset);
        return { Data: content.subarray(start, Length === 0n ? undefined : start + Number(Length)) };
      });
    },
    async readDir(request, context) {
      return answered(async () => {
        const entries = await store.trees.list(await treeOf(context, request.Ref), pathOf(request.DirPath));
        const matches = glob(request.IncludePattern);
        return { entries: entries.map(statOf).filter(({ path }) => matches(path)) };
      });
    },
    async statFile(request, context) {
      return answered(async () => {
        const entry = await store.trees.lookup(await treeOf(context, request.Ref), pathOf(request.Path));
        if (entry === undefined) throw new EngineError('NotFound', 'PATH_NOT_FOUND', `${request.Path}: no such file or directory`);
        return { stat: statOf(entry) };
      });
    },
  };
}

function enabled(caps: readonly string[]) {
  return caps.map((ID) => ({ ID, Enabled: true }));
}

function refuseGraph(request: SolveRequest): void {
  if ((request.Definition?.def.length ?? 0) === 0) return;
  throw new EngineError('Unsupported', 'GRAPH_UNSUPPORTED', 'graphs in the form of LLB are not taken', {
    hint: 'Build from a Dockerfile.',
  });
}

function inputsOf({ FrontendInputs: inputs }: SolveRequest): Map<string, ResultAddress> {
  return new Map(Object.entries(inputs).map(([name, definition]) => [name, readResultDefinition(definition, name)]));
}

function refsOf(result: Result | undefined): Map<string, string> {
  switch (result?.result.case) {
    case 'ref':
      return named([['', result.result.value.id]]);
    case 'refs':
      return named(Object.entries(result.result.value.refs).map(([platform, ref]) => [platform, ref.id]));
    case 'refDeprecated':
      return named([['', result.result.value]]);
    case 'refsDeprecated':
      return named(Object.entries(result.result.value.refs));
    default:
      return new Map();
  }
}

function named(refs: [platform: string, ref: string][]): Map<string, string> {
  return new Map(refs.filter(([, ref]) => ref !== ''));
}

function pathOf(path: string) {
  return toBytes(path.replace(/^[/.]*\//, '').replace(/^\.$/, ''));
}

/** Go's filepath.Match for one name; everything without a pattern. */
function glob(pattern: string): (name: string) => boolean {
  if (pattern === '') return () => true;
  const source = pattern
    .replaceAll(/[.+^${}()|\\]/g, '\\$&')
    .replaceAll('*', '[^/]*')
    .replaceAll('?', '[^/]');
  const matcher = new RegExp(`^${source}$`, 'u');
  return (name) => matcher.test(name);
}

function statOf(entry: Entry): Stat {
  return create(StatSchema, {
    path: toText(entry.name),
    mode: goMode(entry.type, entry.mode),
    uid: entry.uid,
    gid: entry.gid,
    size: BigInt(entry.type === EntryType.file ? entry.size : 0),
    modTime: BigInt(entry.mtimeSec) * 1_000_000_000n + BigInt(entry.mtimeNsec),
    linkname: entry.type === EntryType.symlink ? toText(entry.target) : '',
  });
}
