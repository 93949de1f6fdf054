import type { FastifyInstance } from 'fastify';
import { FrameStream } from '../../api-types/own.ts';
import { EngineError } from '../../base/errors.ts';
import type { LogLine, ReadOptions } from '../../logging/port.ts';
import type { ContainerRecord } from '../../runtime/port.ts';
import { parseDetachKeys } from '../detach-keys.ts';
import { nanoTime } from '../encode/time.ts';
import { invalid } from '../errors.ts';
import { frame } from '../framing.ts';
import { hijack, wantsUpgrade } from '../hijack.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { joinStdio } from '../stdio.ts';
import { ResponseStream } from '../stream.ts';
import { compareVersions, versionOf } from '../version.ts';

type Named = { Params: { name: string } };

const newline = Buffer.from('\n');

/** Lines are joined into writes of about this many bytes while they come without a pause. */
const batchBytes = 64 * 1024;

export const rawStreamType = 'application/vnd.docker.raw-stream';
const multiplexedStreamType = 'application/vnd.docker.multiplexed-stream';

/** Output of a process as its clients expect it: framed without a tty, and named so since API 1.42. */
export function streamType(url: string, tty: boolean): string {
  return !tty && compareVersions(versionOf(url), '1.42') >= 0 ? multiplexedStreamType : rawStreamType;
}

/** Logs, attach, resize. */
export function containerIoRoutes(app: FastifyInstance, services: Services): void {
  const { containers } = services;

  app.get<Named>('/containers/:name/logs', async (request, reply) => {
    const query = new Query(request.query);
    const options = readOptions(query);
    const record = await containers.get(request.params.name);
    const tty = record.config.Tty === true;
    const stream = new ResponseStream(reply, services.shutdown, streamType(request.originalUrl, tty));
    try {
      const lines = services.logs.read(record.id, { ...options, signal: stream.signal });
      await sendLines(stream, lines, { tty, timestamps: query.boolean('timestamps') });
      stream.end();
    } catch (error) {
      if (!stream.signal.aborted) request.log.error({ err: error, container: record.id }, 'reading logs failed');
      stream.destroy();
    }
  });

  app.post<Named>('/containers/:name/attach', async (request, reply) => {
    const query = new Query(request.query);
    const record = await containers.get(request.params.name);
    refuseAttach(record);
    const tty = record.config.Tty === true;
    const stdin = query.boolean('stdin') && query.boolean('stream') && record.config.OpenStdin === true;
    const detachKeys = parseDetachKeys(query.string('detachKeys'));
    const attachment = await containers.attach(record.id, {
      stdin,
      stdout: query.boolean('stdout'),
      stderr: query.boolean('stderr'),
      logs: query.boolean('logs'),
      stream: query.boolean('stream'),
    });
    const contentType = wantsUpgrade(request, 'tcp') ? streamType(request.originalUrl, tty) : rawStreamType;
    const connection = hijack(request, reply, { protocol: 'tcp', contentType, input: stdin, shutdown: services.shutdown });
    try {
      await joinStdio(connection, attachment, { tty, stdin, detachKeys });
    } catch (error) {
      request.log.error({ err: error, container: record.id }, 'an attached stream failed');
    }
  });

  app.post<Named>('/containers/:name/resize', async (request, reply) => {
    await containers.resize(request.params.name, terminalSize(new Query(request.query)));
    return reply.code(200).send();
  });
}

export function terminalSize(query: Query): { rows: number; columns: number } {
  const size = (name: string) => {
    const value = query.integer(name);
    if (value === undefined || value < 0 || value > 65_535)
      throw invalid('PARAMETER_INVALID', `the parameter "${name}" must be 0 to 65535`);
    return value;
  };
  return { rows: size('h'), columns: size('w') };
}

function readOptions(query: Query): ReadOptions {
  const stdout = query.boolean('stdout');
  const stderr = query.boolean('stderr');
  if (!stdout && !stderr)
    throw invalid('LOGS_NO_STREAM', 'Bad parameters: you must choose at least one stream', 'Give stdout=1, stderr=1 or both.');
  const tail = query.string('tail');
  const lines = tail === undefined || tail === 'all' || !/^\d{1,12}$/.test(tail) ? undefined : Number(tail);
  return { stdout, stderr, sinceNs: query.timeNs('since'), untilNs: query.timeNs('until'), tail: lines, follow: query.boolean('follow') };
}

async function sendLines(
  stream: ResponseStream,
  lines: AsyncIterable<LogLine>,
  format: { tty: boolean; timestamps: boolean },
): Promise<void> {
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

function encodeLine(line: LogLine, format: { tty: boolean; timestamps: boolean }): Buffer {
  const parts = [line.line];
  if (format.timestamps) parts.unshift(Buffer.from(`${nanoTime(line.timeNs)} `));
  if (!line.partial) parts.push(newline);
  const text = Buffer.concat(parts);
  return format.tty ? text : frame(FrameStream[line.stream], text);
}

function refuseAttach({ id, state }: ContainerRecord): void {
  if (state.status === 'running' && state.paused) {
    throw new EngineError('Conflict', 'CONTAINER_PAUSED', `Container ${id} is paused, unpause the container before attach`);
  }
  if (state.status === 'restarting') {
    throw new EngineError('Conflict', 'CONTAINER_RESTARTING', `Container ${id} is restarting, wait until the container is running`);
  }
}
