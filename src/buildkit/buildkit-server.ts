import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { BuildCacheMounts } from '../build/cache/port.ts';
import type { Builder } from '../build/port.ts';
import type { Store } from '../store/port.ts';
import type { Archives, Transfers } from '../transport/port.ts';
import { bridgeService } from './control/bridge-service.ts';
import { controlService } from './control/control-service.ts';
import { BuildHistory } from './control/history.ts';
import { BuildJobs } from './control/jobs.ts';
import { encodeStatus } from './control/progress.ts';
import { SolveRunner } from './control/solver.ts';
import type { WorkerFacts } from './control/worker.ts';
import { Exporters } from './exporters/exporters.ts';
import { FolderMemory } from './filesync/folder-memory.ts';
import { SessionFiles } from './filesync/session-files.ts';
import { Control } from './gen/control_pb.ts';
import { LLBBridge } from './gen/gateway_pb.ts';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from './gen/health_pb.ts';
import { GrpcServer } from './grpc/server.ts';
import type { BuildKit, ImageMade, SessionBuild, SessionOffer } from './port.ts';
import { Sessions } from './session/sessions.ts';

export type BuildKitOptions = {
  store: Store;
  builder: Builder;
  caches?: BuildCacheMounts | undefined;
  archives: Pick<Archives, 'save' | 'exportTree'>;
  transfers: Pick<Transfers, 'push'>;
  worker: WorkerFacts;
  onImage: ImageMade;
  shutdown: AbortSignal;
};

/** BuildKit's services in front of the builder. */
export class BuildKitServer implements BuildKit {
  readonly #sessions = new Sessions();
  readonly #jobs = new BuildJobs();
  readonly #solver: SolveRunner;
  readonly #server: GrpcServer;

  constructor({ store, builder, caches, archives, transfers, worker, onImage, shutdown }: BuildKitOptions) {
    const memory = new FolderMemory(join(store.paths.root, 'build/session-folders.json'));
    const files = new SessionFiles({ store, memory });
    const exporters = new Exporters({ store, archives, transfers, files, onImage });
    const jobs = this.#jobs;
    this.#solver = new SolveRunner({ builder, store, sessions: this.#sessions, files, exporters, jobs });
    const solver = this.#solver;
    const history = new BuildHistory((ref) => jobs.counts(ref));
    this.#server = new GrpcServer((router) => {
      router.service(Control, controlService({ solver, jobs, history, caches, worker, shutdown }));
      router.service(LLBBridge, bridgeService({ solver, jobs, store, worker, shutdown }));
      router.service(Health, { check: async () => ({ status: ServingStatus.SERVING }) });
    });
  }

  attachSession(offer: SessionOffer, connect: () => Promise<Socket>): Promise<void> {
    return this.#sessions.attach(offer, connect);
  }

  async serve(socket: Socket): Promise<void> {
    this.#server.serve(socket);
  }

  async build(
    { ref, session, frontendAttrs, exporters, archive }: SessionBuild,
    { onStatus, signal }: { onStatus: (message: Uint8Array) => Promise<void>; signal: AbortSignal },
  ): Promise<{ imageId?: string | undefined }> {
    const watch = new AbortController();
    const solved = this.#solver.solve({ ref, session, frontend: 'dockerfile.v0', frontendAttrs, exporters, archive }, signal);
    const told = (async () => {
      const progress = await this.#jobs.progress(ref, watch.signal);
      for await (const status of progress.watch(watch.signal)) await onStatus(encodeStatus(status));
    })();
    told.catch(() => undefined);
    try {
      const response = await solved;
      return { imageId: response['containerimage.config.digest'] };
    } finally {
      // What was told up to the end goes out before the end itself.
      await told.catch(() => undefined);
      watch.abort();
    }
  }

  async close(): Promise<void> {
    this.#sessions.close();
    this.#server.close();
  }
}
