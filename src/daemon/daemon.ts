import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { buildApp } from '../api/app.ts';
import { createHttpServer } from '../api/server.ts';
import { EngineError } from '../base/errors.ts';
import { lockRoot } from '../store/root-lock.ts';
import { composeEngine } from './compose.ts';
import type { DaemonConfig } from './config.ts';
import type { Logger } from './log.ts';
import { keepSmall } from './memory.ts';
import { listenOnSocket } from './socket.ts';

export type Daemon = {
  /** Stops accepting, ends what is under way, closes the engine. Containers run on. */
  stop(): Promise<void>;
};

/** How long requests may take to end once they have been told to, in milliseconds. */
const graceMs = 10_000;

/**
 * Starts the engine: checks, locks, composes, adopts what runs, and only then answers. When it fails, or `signal` aborts on the way, whatever
 * had been made is taken down again and the error thrown.
 */
export async function startDaemon(config: DaemonConfig, options: { log: Logger; signal: AbortSignal }): Promise<Daemon> {
  const { log, signal } = options;
  const startedAt = performance.now();
  await using undo = new AsyncDisposableStack();
  refuseWithoutRoot();
  undo.defer(keepSmall());
  undo.defer(lockRun(config.run));
  const shutdown = new AbortController();
  const engine = await composeEngine(config, { log, shutdown: shutdown.signal });
  undo.defer(() => engine.close());
  signal.throwIfAborted();
  await engine.recover();
  signal.throwIfAborted();
  const app = buildApp(engine.services, { logger: log });
  undo.defer(() => app.close());
  await app.ready();
  const paths = [config.socket, ...(config.dockerSocket === undefined ? [] : [config.dockerSocket])];
  for (const path of paths) undo.defer(await serve(app, { path, group: config.group, log }));
  // First of all when it ends: followed streams would otherwise hold their connections open.
  undo.defer(() => shutdown.abort(new DOMException('the daemon is shutting down', 'AbortError')));
  signal.throwIfAborted();
  log.info(
    {
      root: config.root,
      run: config.run,
      sockets: paths,
      pid: process.pid,
      startMs: Math.round(performance.now() - startedAt),
      ...engine.summary,
    },
    'ready',
  );
  const running = undo.move();
  return { stop: () => running.disposeAsync() };
}

async function serve(
  app: FastifyInstance,
  { path, group, log }: { path: string; group: string; log: Logger },
): Promise<() => Promise<void>> {
  const server = createHttpServer(app);
  const connections = new Set<Socket>();
  server.on('connection', (socket) => {
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
  });
  server.on('error', (error) => log.error({ err: error, socket: path }, 'the listener failed'));
  const remove = await listenOnSocket(server, path, group);
  return async () => {
    remove();
    await closeServer(server, connections);
  };
}

/** Waits for requests under way, which were told to end; what does not within the time is cut. */
async function closeServer(server: Server, connections: ReadonlySet<Socket>): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  // A connection becomes idle when its last answer ends, which may be after this.
  const sweep = setInterval(() => server.closeIdleConnections(), 20);
  const cut = setTimeout(() => {
    for (const socket of connections) socket.destroy();
  }, graceMs);
  await closed;
  clearTimeout(cut);
  clearInterval(sweep);
}

function refuseWithoutRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new EngineError(
    'Denied',
    'ROOT_REQUIRED',
    'the daemon must run as root: it mounts file systems and makes namespaces for containers',
    {
      hint: 'Run "sudo slipway daemon". Clients need no root: they need membership of the group slipway.',
    },
  );
}

/** Two daemons with different roots must not share a run directory: sockets and mounts would mix. */
function lockRun(run: string): () => void {
  mkdirSync(run, { recursive: true, mode: 0o755 });
  return lockRoot(run);
}
