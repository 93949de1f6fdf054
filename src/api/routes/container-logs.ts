import type { FastifyInstance } from 'fastify';
import { FrameStream } from '../../api-types/own.ts';
import { EngineError } from '../../base/errors.ts';
import type { LogLine, ReadOptions } from '../../logging/port.ts';
import { nanoTime } from '../encode/time.ts';
import { invalid } from '../errors.ts';
import { frame } from '../framing.ts';
import { logDetails } from '../log-details.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { ResponseStream } from '../stream.ts';
import { streamType } from './container-io.ts';

type Named = { Params: { name: string } };
/** `prefix` is put before each line, after its time. */
type Format = { tty: boolean; timestamps: boolean; prefix: Buffer };

const newline = Buffer.from('\n');
const nothing = Buffer.alloc(0);

/** Lines are joined into writes of about this many bytes while they come without a pause. */
const batchBytes = 64 * 1024;

/** GET /containers/{id}/logs, with all of its parameters: follow, stdout, stderr, since, until, timestamps, tail, details. */
export function containerLogsRoutes(app: FastifyInstance, services: Services): void {
  app.get<Named>('/containers/:name/logs', async (request, reply) => {
    const query = new Query(request.query);
    const options = readOptions(query);
    const record = await services.containers.get(request.params.name);
    if (record.hostConfig.LogConfig?.Type === 'none') {
      throw new EngineError('Unsupported', 'LOGS_NOT_KEPT', 'configured logging driver does not support reading');
    }
    const tty = record.config.Tty === true;
    const prefix = query.boolean('details') ? Buffer.from(`${logDetails(record)} `) : nothing;
    const stream = new ResponseStream(reply, services.shutdown, streamType(request, tty));
    try {
      const lines = services.logs.read(record.id, { ...options, signal: stream.signal });
      await sendLines(stream, lines, { tty, timestamps: query.boolean('timestamps'), prefix });
      stream.end();
    } catch (error) {
      if (stream.signal.aborted) stream.destroy();
      else stream.fail(error);
    }
  });
}

function readOptions(query: Query): ReadOptions {
  const stdout = query.boolean('stdout');
  const stderr = query.boolean('stderr');
  if (!stdout && !stderr)
    throw invalid('LOGS_NO_STREAM', 'Bad parameters: you must choose at least one stream', 'Give stdout=1, stderr=1 or both.');
  // As Docker: what is no number means all.
  const tail = query.string('tail') ?? 'all';
  const lines = /^\d{1,12}$/.test(tail) ? Number(tail) : undefined;
  return { stdout, stderr, sinceNs: query.timeNs('since'), untilNs: query.timeNs('until'), tail: lines, follow: query.boolean('follow') };
}

async function sendLines(stream: ResponseStream, lines: AsyncIterable<LogLine>, format: Format): Promise<void> {
  let batch: Buffer[] = [];
  let bytes = 0;
  let flushing: NodeJS.Immediate | undefined;
  const flush = () => {
    clearImmediate(flushing);
    flushing = undefined;
    const chunk = Buffer.concat(batch, bytes);
    batch = [];
    bytes = 0;
    return chunk;
  };
  for await (const line of lines) {
    const piece = encodeLine(line, format);
    batch.push(piece);
    bytes += piece.length;
    if (bytes >= batchBytes) await stream.write(flush());
    // A line that nothing follows at once must not wait for company.
    else flushing ??= setImmediate(() => stream.post(flush()));
  }
  if (bytes > 0) await stream.write(flush());
}

function encodeLine(line: LogLine, { tty, timestamps, prefix }: Format): Buffer {
  const parts = [prefix, line.line];
  if (timestamps) parts.unshift(Buffer.from(`${nanoTime(line.timeNs)} `));
  if (!line.partial) parts.push(newline);
  const text = Buffer.concat(parts);
  return tty ? text : frame(FrameStream[line.stream], text);
}
