import type { FastifyBaseLogger } from 'fastify';
import { FrameStream, maxControlFrameBytes, maxStdinFrameBytes, type RunControlFromDaemon, type RunRequest } from '../api-types/own.ts';
import { Timeline } from '../base/timeline.ts';
import type { Attachment, ContainerRecord } from '../runtime/port.ts';
import { isPlainObject } from './decode.ts';
import { invalid, toErrorObject } from './errors.ts';
import { FrameDecoder, frame } from './framing.ts';
import type { HijackedConnection } from './hijack.ts';
import { consoleSize } from './schemas/resources.ts';
import type { Services } from './services.ts';

export type RunSubject = {
  run: RunRequest;
  record: ContainerRecord;
  warnings: readonly string[];
  /** `Timeline.now()` when the request came. */
  arrivedAtMs: number;
  /** Of the request so far. */
  timeline: Timeline;
  log: FastifyBaseLogger;
};

type ClientFrame = { stream: number; payload: Buffer };

/**
 * The daemon's side of one `slipway run` connection, from the container's creation to its exit. It tells id, warnings, started, output and
 * exit in this order, and applies what the client sends once the process runs.
 */
export class RunSession {
  readonly #containers: Services['containers'];
  readonly #connection: HijackedConnection;
  readonly #subject: RunSubject;
  #attachment: Attachment | undefined;
  #detached = false;

  constructor(services: Pick<Services, 'containers'>, connection: HijackedConnection, subject: RunSubject) {
    this.#containers = services.containers;
    this.#connection = connection;
    this.#subject = subject;
  }

  /** Ends with the connection closed; never throws. */
  async follow(): Promise<void> {
    const { record, warnings, run } = this.#subject;
    await this.#tell({ id: record.id });
    if (warnings.length > 0) await this.#tell({ warnings: [...warnings] });
    try {
      if (run.detach === true) await this.#start();
      else await this.#runAttached();
    } catch (error) {
      const described = toErrorObject(error);
      this.#subject.log.info({ err: error, container: record.id }, 'a run failed');
      await this.#tell({ error: described });
      await this.#tell({ exit: { code: described.exitCode ?? 125, error: described.message } });
    } finally {
      this.#attachment?.close();
      this.#connection.close();
    }
  }

  async #start(): Promise<void> {
    const { record, timeline, arrivedAtMs, run } = this.#subject;
    await this.#containers.start(record.id, { timeline });
    if (run.detach === true) await this.#tellTiming();
    await this.#tell({ started: { timeMs: Math.round(Timeline.now() - arrivedAtMs) } });
  }

  async #runAttached(): Promise<void> {
    const { record, run, timeline } = this.#subject;
    const { signal } = this.#connection;
    // Before the start, so that neither the first byte nor the exit of a short life is missed.
    const attachment = await this.#containers.attach(record.id, {
      stdin: run.attachStdin === true,
      stdout: run.attachStdout !== false,
      stderr: run.attachStderr !== false,
      logs: false,
      stream: true,
    });
    this.#attachment = attachment;
    signal.addEventListener('abort', () => attachment.close());
    const waiting = new AbortController();
    signal.addEventListener('abort', () => waiting.abort());
    const exit = this.#containers.wait(record.id, 'next-exit', waiting.signal);
    exit.catch(() => {});
    try {
      await this.#start();
      const startedAtMs = Timeline.now();
      if (run.size !== undefined && run.tty === true) await this.#resize(run.size);
      void this.#pumpInput(attachment).catch((error: unknown) => this.#refuse(error));
      for await (const { stream, data } of attachment.output()) await this.#connection.write(frame(FrameStream[stream], data));
      if (this.#detached || signal.aborted) return;
      const { exitCode, error } = await exit;
      addRun(timeline, startedAtMs, record);
      await this.#tellTiming();
      await this.#tell({ exit: { code: exitCode, error } });
    } finally {
      waiting.abort();
    }
  }

  async #pumpInput(attachment: Attachment): Promise<void> {
    const decoder = new FrameDecoder(limitOf);
    for await (const chunk of this.#connection.input()) {
      for (const clientFrame of decoder.push(chunk)) await this.#apply(clientFrame, attachment);
      if (this.#detached) return attachment.close({ detached: true });
    }
    if (this.#subject.run.attachStdin === true && !this.#connection.signal.aborted) await attachment.endStdin();
  }

  async #apply({ stream, payload }: ClientFrame, attachment: Attachment): Promise<void> {
    const attachedStdin = this.#subject.run.attachStdin === true;
    if (stream === FrameStream.stdin) {
      if (attachedStdin) await attachment.write(payload);
      return;
    }
    const message = parseControl(payload);
    if ('resize' in message) await this.#resize(consoleSize(message.resize, 'resize'));
    if ('signal' in message) await this.#signal(String(message.signal));
    if ('eof' in message && attachedStdin) await attachment.endStdin();
    if ('detach' in message) this.#detached = true;
  }

  /** A signal that comes as the process ends has nowhere to go; that is no failure of the run. */
  async #signal(name: string): Promise<void> {
    const { record, log } = this.#subject;
    await this.#containers
      .kill(record.id, name)
      .catch((error: unknown) => log.debug({ err: error, container: record.id }, 'a signal was not delivered'));
  }

  async #resize([rows, columns]: [number, number]): Promise<void> {
    const { record, log } = this.#subject;
    await this.#containers
      .resize(record.id, { rows, columns })
      .catch((error: unknown) => log.debug({ err: error, container: record.id }, 'a terminal was not resized'));
  }

  async #refuse(error: unknown): Promise<void> {
    await this.#tell({ error: toErrorObject(error) });
    this.#detached = true;
    this.#attachment?.close();
  }

  async #tellTiming(): Promise<void> {
    if (this.#subject.run.timing === true) await this.#tell({ timing: this.#subject.timeline.spans });
  }

  async #tell(message: RunControlFromDaemon): Promise<void> {
    await this.#connection.write(frame(FrameStream.control, Buffer.from(JSON.stringify(message))));
  }
}

/** The monitor notes when the process ended; the rest of the time is what it took to hear of it. */
function addRun(timeline: Timeline, startedAtMs: number, { state }: ContainerRecord): void {
  const nowMs = Timeline.now();
  const endedAtMs = state.status === 'exited' ? Math.min(Math.max(state.finishedAtMs, startedAtMs), nowMs) : nowMs;
  timeline.add('run', startedAtMs, endedAtMs);
  timeline.add('exit seen', endedAtMs, nowMs);
}

function limitOf(stream: number): number | undefined {
  if (stream === FrameStream.control) return maxControlFrameBytes;
  return stream === FrameStream.stdin ? maxStdinFrameBytes : undefined;
}

function parseControl(payload: Buffer): Record<string, unknown> {
  let message: unknown;
  try {
    message = JSON.parse(payload.toString('utf8'));
  } catch {
    message = undefined;
  }
  if (!isPlainObject(message)) throw invalid('FRAME_INVALID', 'a control frame is not a JSON object');
  return message;
}
