import { setTimeout as sleep } from 'node:timers/promises';
import type { Healthcheck } from '../oci/image.ts';
import type { Container } from './container.ts';
import type { EngineContext } from './context.ts';
import type { ExecSessions } from './exec.ts';
import { type Probe, type ProbeResult, runProbe } from './health-probe.ts';
import type { HealthState } from './port.ts';

/** Docker's: the last results that are shown. */
const keptResults = 5;
const nsPerMs = 1e6;

/**
 * Health checks of running containers: each is a timer, and now and then a process in the container. Results are in the record, so that a later
 * engine goes on where this one was. A paused or stopped container is unhealthy, as in Docker, until a check says otherwise.
 */
export class HealthChecks {
  readonly #context: EngineContext;
  readonly #execs: ExecSessions;
  readonly #watches = new Map<string, AbortController>();

  constructor(context: EngineContext, execs: ExecSessions) {
    this.#context = context;
    this.#execs = execs;
  }

  /** From a start on, afresh. */
  begin(container: Container): void {
    const { record } = container;
    if (probeOf(container) === undefined) delete record.health;
    else record.health = { status: 'starting', failingStreak: 0, log: record.health?.log ?? [] };
    this.resume(container);
  }

  /** After a pause, or for a container that ran before the engine did: from where its state is. */
  resume(container: Container): void {
    this.#stop(container);
    const probe = probeOf(container);
    const { record } = container;
    if (probe === undefined || record.state.status !== 'running' || record.state.paused) return;
    record.health ??= { status: 'starting', failingStreak: 0, log: [] };
    const watch = new AbortController();
    this.#watches.set(container.id, watch);
    this.#check(container, probe, watch.signal).catch((error) => {
      if (!watch.signal.aborted) this.#context.report(container.id, error);
    });
  }

  /** Ends a check that is under way, with what it has started. */
  suspend(container: Container): void {
    if (!this.#stop(container) || container.record.health === undefined) return;
    container.record.health.status = 'unhealthy';
  }

  close(): void {
    for (const watch of this.#watches.values()) watch.abort();
    this.#watches.clear();
  }

  #stop(container: Container): boolean {
    const watch = this.#watches.get(container.id);
    watch?.abort();
    return this.#watches.delete(container.id);
  }

  async #check(container: Container, probe: Probe, signal: AbortSignal): Promise<void> {
    let lastMs = container.record.health?.log.at(-1)?.endedAtMs ?? 0;
    while (!signal.aborted) {
      const now = this.#context.now();
      const dueMs = Math.max(lastMs, startedAt(container)) + interval(container, probe, now);
      await sleep(Math.max(0, dueMs - now), undefined, { signal, ref: false });
      const result = await runProbe(this.#context, this.#execs, container, probe, signal);
      lastMs = result.endedAtMs;
      await container.exclusive(async () => {
        if (!signal.aborted) await this.#take(container, probe, result);
      });
    }
  }

  async #take(container: Container, probe: Probe, result: ProbeResult): Promise<void> {
    const { health } = container.record;
    if (health === undefined) return;
    const { status } = health;
    applyResult(health, result, { retries: probe.retries, inStartPeriod: result.startedAtMs - startedAt(container) < probe.startPeriodMs });
    await this.#context.registry.saveIfRoom(container);
    if (health.status !== status) this.#context.emit(container, 'health_status', { status: health.status });
  }
}

/** Docker's rule: in the start period a failure of a container that has never been healthy does not count. */
export function applyResult(health: HealthState, result: ProbeResult, options: { retries: number; inStartPeriod: boolean }): void {
  health.log = [...health.log, result].slice(-keptResults);
  if (result.exitCode === 0) {
    health.failingStreak = 0;
    health.status = 'healthy';
    return;
  }
  if (health.status === 'starting' && options.inStartPeriod) return;
  health.failingStreak++;
  if (health.failingStreak >= options.retries) health.status = 'unhealthy';
}

function interval({ record }: Container, probe: Probe, nowMs: number): number {
  const starting = record.health?.status === 'starting' && record.state.status === 'running';
  const inStartPeriod = record.state.status === 'running' && nowMs - record.state.startedAtMs < probe.startPeriodMs;
  return starting && inStartPeriod ? probe.startIntervalMs : probe.intervalMs;
}

function startedAt({ record: { state } }: Container): number {
  return state.status === 'running' ? state.startedAtMs : 0;
}

/** What the configuration asks for, with Docker's defaults; undefined for no check. */
function probeOf(container: Container): Probe | undefined {
  const { Healthcheck, Shell } = container.record.config;
  const args = commandOf(Healthcheck, Shell);
  if (args === undefined) return undefined;
  const ms = (ns: number | undefined, otherwiseMs: number) => (ns ? ns / nsPerMs : otherwiseMs);
  return {
    args,
    intervalMs: ms(Healthcheck?.Interval, 30_000),
    timeoutMs: ms(Healthcheck?.Timeout, 30_000),
    startPeriodMs: ms(Healthcheck?.StartPeriod, 0),
    startIntervalMs: ms(Healthcheck?.StartInterval, 5_000),
    retries: Healthcheck?.Retries || 3,
  };
}

export function commandOf(check: Healthcheck | undefined, shell: readonly string[] | undefined): string[] | undefined {
  const [kind, ...args] = check?.Test ?? [];
  if (kind === 'CMD' && args.length > 0) return args;
  if (kind === 'CMD-SHELL' && args.length > 0) return [...(shell && shell.length > 0 ? shell : ['/bin/sh', '-c']), ...args];
  return undefined;
}
