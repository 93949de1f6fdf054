import { EngineError } from '../../base/errors.ts';
import type { BuildContext, BuildEvent, Builder, BuildResult, CacheExport, NamedContext } from '../../build/port.ts';
import type { Store } from '../../store/port.ts';
import type { Exporters } from '../exporters/exporters.ts';
import { SessionContext, type SessionContextOptions, type TransferProgress } from '../filesync/session-context.ts';
import type { SessionFiles } from '../filesync/session-files.ts';
import type { ExportRequest } from '../port.ts';
import { SessionAgents, SessionSecrets, sessionCredentials } from '../session/providers.ts';
import type { Session, Sessions } from '../session/sessions.ts';
import { fetchUpload } from '../session/upload.ts';
import { cacheImportsOf } from './caches.ts';
import { decodeFrontend, type FrontendRequest, type NamedSource } from './frontend.ts';
import { BuildJob, type BuildJobs } from './jobs.ts';
import type { BuildProgress } from './progress.ts';
import type { ResultAddress } from './result-definition.ts';

export type FrontendRun = {
  frontend: string;
  frontendAttrs: Readonly<Record<string, string>>;
  /** The context as a tar, already a file here. */
  archive?: string | undefined;
  /** Results of other builds, by the names under which the build's contexts refer to them. */
  inputs?: ReadonlyMap<string, ResultAddress> | undefined;
};

/** With the frontend '' it is the client that drives the build, through LLBBridge. */
export type Solve = FrontendRun & {
  ref: string;
  session: string;
  exporters: readonly ExportRequest[];
  entitlements?: readonly string[] | undefined;
  /** Caches that the client wants written. */
  cacheExports?: readonly CacheExport[] | undefined;
  /** What to say of those that cannot be. */
  warnings?: readonly string[] | undefined;
};

export type SolveOptions = {
  builder: Builder;
  store: Pick<Store, 'leases' | 'paths' | 'trees'>;
  sessions: Sessions;
  files: SessionFiles;
  exporters: Exporters;
  jobs: BuildJobs;
};

type Around = { inputs: FrontendRun['inputs']; signal: AbortSignal; steps: BuildSteps };

/** The steps by which the builder tells that it reads a context, the build's own or one with a name. Clients of BuildKit know them by other names. */
const contextStep = /^read the (?:build context|context (?<name>.+))$/;

/** Runs builds that clients of BuildKit ask for. */
export class SolveRunner {
  readonly #options: SolveOptions;
  /** Whoever drives its build itself says what is to be written when it begins, and runs the frontend later. */
  readonly #cacheExports = new WeakMap<BuildJob, readonly CacheExport[]>();

  constructor(options: SolveOptions) {
    this.#options = options;
  }

  /** Gives the exporters' answers. The client's going away cancels the build and leaves nothing of it. */
  async solve(solve: Solve, signal: AbortSignal): Promise<Record<string, string>> {
    const { jobs, sessions, exporters } = this.#options;
    const progress = jobs.begin(solve.ref);
    let session: Session | undefined;
    try {
      session = await sessions.get(solve.session, signal);
      const stop = AbortSignal.any([signal, session.channel.closed]);
      const job = new BuildJob({
        ref: solve.ref,
        exporters: solve.exporters,
        session,
        progress,
        signal: stop,
        entitlements: solve.entitlements ?? [],
      });
      jobs.open(job);
      for (const message of solve.warnings ?? []) progress.event({ kind: 'warning', message });
      if (solve.cacheExports !== undefined) this.#cacheExports.set(job, solve.cacheExports);
      const results = solve.frontend === '' ? await this.#gateway(job) : new Map([['', await this.run(job, solve, job.signal)]]);
      return await exporters.export(job, results);
    } catch (error) {
      // Who only lost the session is told so; to the builder both are an end that was asked for.
      if (session?.channel.closed.aborted && !signal.aborted) throw session.channel.closed.reason;
      throw error;
    } finally {
      jobs.end(solve.ref);
    }
  }

  /** One run of the Dockerfile frontend. */
  async run(job: BuildJob, { frontend, frontendAttrs, archive, inputs }: FrontendRun, signal: AbortSignal): Promise<BuildResult> {
    checkFrontend(frontend, frontendAttrs);
    const { builder, exporters, store } = this.#options;
    const request = decodeFrontend(frontendAttrs);
    const { progress, session } = job;
    const imports = cacheImportsOf(frontendAttrs);
    for (const message of [...request.warnings, ...imports.warnings]) progress.event({ kind: 'warning', message });
    const steps = new BuildSteps(progress);
    await using upload = request.upload === undefined ? undefined : await this.#fetch(job, request.upload, signal);
    const tar = archive ?? upload?.file;
    const context: BuildContext =
      tar === undefined
        ? { kind: 'source', open: (options) => this.#context(session, request, { ...options, signal, progress: steps.transfer('') }) }
        : { kind: 'tar', file: tar };
    await using lease = await store.leases.acquire({ purpose: 'build' });
    const text =
      tar === undefined || !request.ownDockerfile
        ? undefined
        : await this.#context(session, request, { lease, adopt: false, signal, progress: steps.transfer('') }).readText(request.filename);
    // What the build reads must stay until it is over.
    return await builder.build(
      {
        ...request.build,
        ...(rewritesTimes(job.exporters) ? { timestamps: 'epoch' as const } : {}),
        dockerfile: text === undefined ? { path: request.filename } : { text, name: request.filename },
        tags: exporters.names(job.exporters),
        output: { kind: exporters.wantImage(job.exporters) ? 'image' : 'tree' },
        context,
        contexts: this.#contexts(request, session, { inputs, signal, steps }),
        secrets: new SessionSecrets(session),
        entitlements: job.entitlements,
        ssh: new SessionAgents(session),
        authFor: (reference) => sessionCredentials(session, reference),
        cacheFrom: imports.caches,
        cacheTo: this.#cacheExports.get(job) ?? [],
      },
      { onEvent: (event) => steps.event(event), signal },
    );
  }

  #contexts({ contexts }: FrontendRequest, session: Session, around: Around): Record<string, NamedContext> {
    return Object.fromEntries(Object.entries(contexts).map(([name, source]) => [name, this.#named(name, source, session, around)]));
  }

  #named(name: string, source: NamedSource, session: Session, { inputs, signal, steps }: Around): NamedContext {
    if (source.kind === 'image' || source.kind === 'remote') return source;
    if (source.kind === 'input') return this.#input(source.name, inputs?.get(source.name));
    const folder = { contextName: source.name, dockerfileName: undefined };
    return { kind: 'source', open: (options) => this.#context(session, folder, { ...options, signal, progress: steps.transfer(name) }) };
  }

  /** The other build is there as long as this one runs: its client waits with its end. */
  #input(name: string, address: ResultAddress | undefined): NamedContext {
    if (address === undefined) throw new EngineError('InvalidArgument', 'INPUT_MISSING', `there is no input "${name}"`);
    const { image, tree } = this.#options.jobs.result(address);
    return image === undefined ? { kind: 'tree', tree } : { kind: 'image', reference: image.id };
  }

  #fetch(job: BuildJob, address: string, signal: AbortSignal) {
    const { tmp } = this.#options.store.paths;
    return job.progress.step('[internal] load remote build context', () => fetchUpload(job.session, address, { tmpDir: tmp, signal }));
  }

  #context(
    session: Session,
    { contextName, dockerfileName }: { contextName: string; dockerfileName: string | undefined },
    options: Pick<SessionContextOptions, 'lease' | 'adopt' | 'signal' | 'progress'>,
  ): SessionContext {
    const { files, store } = this.#options;
    return new SessionContext({ session, files, store, contextName, dockerfileName, ...options });
  }

  /** The client runs a function of its own that calls the frontend through LLBBridge, and returns what it got. */
  async #gateway(job: BuildJob): Promise<Map<string, BuildResult>> {
    const gone = new Promise<never>((_resolve, reject) => {
      if (job.signal.aborted) reject(job.signal.reason);
      job.signal.addEventListener('abort', () => reject(job.signal.reason), { once: true });
    });
    const returned = await Promise.race([job.returned, gone]);
    if ('error' in returned) throw returned.error;
    return new Map([...returned.refs].map(([platform, ref]) => [platform, job.result(ref)]));
  }
}

/** Events of a build under the names that clients of BuildKit know, with how far the transfers are. */
class BuildSteps {
  readonly #progress: BuildProgress;
  /** Vertices that read a context, by its name; '' is the build's own. */
  readonly #contexts = new Map<string, string>();

  constructor(progress: BuildProgress) {
    this.#progress = progress;
  }

  /** Tells of what comes for one context. */
  transfer(name: string): TransferProgress {
    return {
      step: (step, run) => this.#progress.step(`${name === '' ? '[internal]' : `[context ${name}]`} ${step}`, run),
      context: (receivedBytes) => {
        const vertex = this.#contexts.get(name);
        if (vertex !== undefined) this.#progress.status(vertex, 'transferring context:', { current: receivedBytes });
      },
    };
  }

  event(event: BuildEvent): void {
    const found = event.kind === 'vertex' ? contextStep.exec(event.name) : null;
    if (event.kind !== 'vertex' || found === null) {
      this.#progress.event(event);
      return;
    }
    const name = found.groups?.name ?? '';
    this.#contexts.set(name, event.vertex);
    this.#progress.event({ ...event, name: name === '' ? '[internal] load build context' : `[context ${name}] load from client` });
  }
}

/** Times of files up to SOURCE_DATE_EPOCH, as BuildKit's exporters do it. */
function rewritesTimes(exporters: readonly ExportRequest[]): boolean {
  return exporters.some(({ attrs }) => ['true', '1'].includes(attrs['rewrite-timestamp'] ?? ''));
}

function checkFrontend(frontend: string, attrs: Readonly<Record<string, string>>): void {
  if (frontend === 'dockerfile.v0') return;
  // A Dockerfile frontend from an image speaks the language that is built in.
  if (frontend === 'gateway.v0' && /(^|\/)docker\/dockerfile(-upstream)?([:@]|$)/.test(attrs.source ?? '')) return;
  const what = frontend === 'gateway.v0' ? `the frontend image ${attrs.source ?? ''}` : `the frontend ${frontend}`;
  throw new EngineError('Unsupported', 'FRONTEND_UNSUPPORTED', `${what.slice(0, 200)} is not supported`, { hint: 'Dockerfiles are.' });
}
