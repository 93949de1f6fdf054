import type { FastifyReply } from 'fastify';
import type { ProgressMessage } from '../../api-types/build.ts';
import { toErrorData } from '../../base/errors.ts';
import type { TransferProgress } from '../../transport/port.ts';
import { toErrorObject } from '../errors.ts';
import { progress, ResponseStream } from '../stream.ts';

/** Counters of one layer are told no more often; a new status is told at once. */
const tellEveryMs = 200;

/**
 * The stream of a pull or push, in Docker's lines. It opens with the first line, so that what fails before has a status of its own. `own`: the client is Slipway's, and errors come with
 * their code and hint.
 */
export class TransferOutput {
  readonly #reply: FastifyReply;
  readonly #shutdown: AbortSignal;
  readonly #own: boolean;
  readonly #open = new Map<string, { status: string; toldAtMs: number }>();
  #stream: ResponseStream | undefined;

  constructor(reply: FastifyReply, shutdown: AbortSignal, options: { own: boolean }) {
    this.#reply = reply;
    this.#shutdown = shutdown;
    this.#own = options.own;
  }

  get begun(): boolean {
    return this.#stream !== undefined;
  }

  line(message: ProgressMessage): void {
    this.#stream ??= new ResponseStream(this.#reply, this.#shutdown, 'application/json');
    this.#stream.post(progress(message));
  }

  /** A status of its own for each layer, and in between how far it is. */
  progress(step: TransferProgress): void {
    const { id, status, current } = step;
    if (id === undefined) {
      this.line({ status });
      return;
    }
    const last = this.#open.get(id);
    const now = performance.now();
    const isCounter = current !== undefined && last?.status === status && current !== step.total;
    if (isCounter && now - last.toldAtMs < tellEveryMs) return;
    this.#open.set(id, { status, toldAtMs: now });
    this.line(toMessage(step));
  }

  /** Inside the stream, where it has begun; else thrown, for the status. */
  fail(error: unknown): void {
    if (!this.begun) throw error;
    const { message } = toErrorData(error);
    this.line({ errorDetail: this.#own ? toErrorObject(error) : { message }, error: message });
    this.end();
  }

  end(): void {
    this.#stream?.end();
  }
}

function toMessage({ id, status, current, total }: TransferProgress): ProgressMessage {
  const named = id === undefined ? {} : { id };
  if (current === undefined) return { status, progressDetail: {}, ...named };
  const detail = { current, ...(total === undefined ? {} : { total }) };
  return { status, progressDetail: detail, progress: bar(current, total), ...named };
}

/** For clients that draw nothing themselves (moby pkg/jsonmessage, JSONProgress.String, at its width of 200). */
function bar(current: number, total: number | undefined): string {
  const now = size(current).padStart(8);
  if (total === undefined || total <= 0 || current > total) return now;
  const done = Math.min(50, Math.floor(Math.floor((current / total) * 100) / 2));
  return `[${'='.repeat(done)}>${' '.repeat(50 - done)}] ${now}/${size(total)}`;
}

function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${Number(value.toPrecision(4))}${units[unit]}`;
}
