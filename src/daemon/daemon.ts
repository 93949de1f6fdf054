import { mkdirSync } from 'node:fs';
import { buildApp } from '../api/app.ts';
import { EngineError } from '../base/errors.ts';
import { lockRoot } from '../store/root-lock.ts';
import { composeEngine } from './compose.ts';
import type { DaemonConfig } from './config.ts';
import { Listeners } from './listeners.ts';
import type { Logger } from './log.ts';
import { keepSmall } from './memory.ts';

export type Daemon = {
  /** Reads certificates again and puts networks back in order, as after a firewall reload. */
  reload(): Promise<void>;
  /** Stops accepting, ends what is under way, closes the engine. Containers run on. */
  stop(): Promise<void>;
};

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
  const app = buildApp(engine.services, { logger: log, authorization: engine.authorization });
  undo.defer(() => app.close());
  await app.ready();
  const listeners = new Listeners(app, config, log);
  undo.defer(() => listeners.close());
  const addresses = await listeners.open();
  // First of all when it ends: followed streams would otherwise hold their connections open.
  undo.defer(() => shutdown.abort(new DOMException('the daemon is shutting down', 'AbortError')));
  signal.throwIfAborted();
  log.info(
    {
      root: config.root,
      run: config.run,
      sockets: addresses,
      pid: process.pid,
      startMs: Math.round(performance.now() - startedAt),
      ...engine.summary,
    },
    'ready',
  );
  const running = undo.move();
  return {
    async reload() {
      try {
        listeners.reload();
      } finally {
        await engine.reload();
      }
    },
    stop: () => running.disposeAsync(),
  };
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
