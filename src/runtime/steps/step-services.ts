import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../../base/errors.ts';
import type { StepRequest, StepService } from '../port.ts';
import type { Bundle } from './step-bundle.ts';
import { outputPipes, type Parts, StepContainer } from './step-container.ts';

/** Between two tries of a probe. */
const probeEveryMs = 100;
/** Of a line that does not end, before it is given out as it is. */
const longestLine = 16 << 10;
/** Of a service's output, for the error when it ends too early. */
const lastLines = 5;

type Options = Parts & {
  readonly writeBundle: (service: StepService) => Promise<Bundle>;
  readonly onOutput: StepRequest['onOutput'];
  readonly signal: AbortSignal | undefined;
};

type Running = { readonly name: string; readonly container: StepContainer; readonly tail: string[]; ended: boolean };

/**
 * Starts the services of a step, all at once, and resolves when those that say how are ready. They are ended by disposing of `cleanup`, also when this throws:
 * InvalidArgument `SERVICE_ENDED` and `SERVICE_NOT_READY`.
 */
export async function startServices(services: readonly StepService[], options: Options, cleanup: AsyncDisposableStack): Promise<void> {
  const started = await Promise.allSettled(services.map((service) => start(service, options, cleanup)));
  for (const outcome of started) if (outcome.status === 'rejected') throw outcome.reason;
  const running = started.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  const given = new AbortController();
  const signal = options.signal === undefined ? given.signal : AbortSignal.any([options.signal, given.signal]);
  const probes = services.map((service, i) => untilReady(service, running[i] as Running, signal));
  try {
    await Promise.all(probes);
  } finally {
    // One that is never ready must not keep the others' probes going.
    given.abort();
    await Promise.allSettled(probes);
  }
}

async function start(service: StepService, options: Options, cleanup: AsyncDisposableStack): Promise<Running> {
  const bundle = await named(service, () => options.writeBundle(service));
  cleanup.defer(() => bundle.remove());
  const tail: string[] = [];
  const lines = { stdout: new PrefixedLines(service.name), stderr: new PrefixedLines(service.name) };
  const tell = (stream: 'stdout' | 'stderr', text: string) => {
    if (text === '') return;
    tail.push(...text.trimEnd().split('\n'));
    tail.splice(0, tail.length - lastLines);
    options.onOutput(stream, Buffer.from(text));
  };
  const pipes = outputPipes((stream, data) => tell(stream, lines[stream].push(data)));
  let container: StepContainer;
  try {
    container = await named(service, () => StepContainer.start(bundle, options, ['ignore', ...pipes.child]));
  } finally {
    pipes.handOver();
  }
  const running: Running = { name: service.name, container, tail, ended: false };
  let stopping = false;
  void container.ended.then(async ({ exitCode, memoryKills }) => {
    running.ended = true;
    await pipes.ended;
    for (const stream of ['stdout', 'stderr'] as const) tell(stream, lines[stream].end());
    const why = memoryKills > 0 ? ', killed at the limit of its memory' : '';
    if (!stopping) tell('stderr', `[${service.name}] ended with exit code ${exitCode}${why}\n`);
  });
  cleanup.defer(async () => {
    stopping = true;
    await container.remove();
  });
  return running;
}

async function untilReady({ ready }: StepService, running: Running, signal: AbortSignal): Promise<void> {
  if (ready === undefined) return;
  const { name, container } = running;
  const deadline = performance.now() + ready.timeoutMs;
  for (;;) {
    signal.throwIfAborted();
    if (running.ended) throw endedEarly(running, (await container.ended).exitCode);
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) break;
    const exitCode = await container.run(ready.args, { timeoutMs: leftMs });
    if (exitCode === 0) return;
    await sleep(Math.min(probeEveryMs, Math.max(0, deadline - performance.now())), undefined, { signal }).catch(() => undefined);
  }
  throw new EngineError(
    'InvalidArgument',
    'SERVICE_NOT_READY',
    `the service ${name} was not ready within ${ready.timeoutMs / 1000} s${shown(running)}`,
    {
      hint: `"${ready.args.join(' ').slice(0, 200)}" has to end with 0 in it. Give it more time, or look at what it printed.`,
    },
  );
}

function endedEarly(running: Running, exitCode: number): EngineError {
  const message = `the service ${running.name} ended with exit code ${exitCode} before it was ready${shown(running)}`;
  return new EngineError('InvalidArgument', 'SERVICE_ENDED', message, { hint: 'What it printed is in the output of the step.' });
}

function shown({ tail }: Running): string {
  return tail.length === 0 ? '' : `:\n${tail.join('\n')}`;
}

/** An error says of which service it is. */
async function named<T>({ name }: StepService, use: () => Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    throw new EngineError(error.kind, error.code, `the service ${name}: ${error.message}`, { hint: error.hint, cause: error });
  }
}

/** Whole lines, each with the name of who said it. */
class PrefixedLines {
  readonly #prefix: string;
  #held = '';

  constructor(name: string) {
    this.#prefix = `[${name}] `;
  }

  push(data: Buffer): string {
    const parts = (this.#held + data.toString('utf8')).split('\n');
    this.#held = parts.pop() ?? '';
    const lines = parts.map((line) => `${this.#prefix}${line}\n`).join('');
    return this.#held.length > longestLine ? lines + this.end() : lines;
  }

  end(): string {
    const line = this.#held === '' ? '' : `${this.#prefix}${this.#held}\n`;
    this.#held = '';
    return line;
  }
}
