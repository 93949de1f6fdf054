import type { FastifyInstance, FastifyRequest } from 'fastify';
import { EngineError } from '../../base/errors.ts';
import type { ContainerRecord } from '../../runtime/port.ts';
import { parseDetachKeys } from '../detach-keys.ts';
import { invalid } from '../errors.ts';
import { hijack, wantsUpgrade } from '../hijack.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { joinStdio } from '../stdio.ts';
import { speaks } from '../version.ts';
import { takeWebSocket } from '../websocket/connection.ts';

type Named = { Params: { name: string } };

export const rawStreamType = 'application/vnd.docker.raw-stream';
const multiplexedStreamType = 'application/vnd.docker.multiplexed-stream';

/** Output of a process as its clients expect it: framed without a tty, and named so since API 1.42. */
export function streamType(request: { originalUrl: string }, tty: boolean): string {
  return !tty && speaks(request, '1.42') ? multiplexedStreamType : rawStreamType;
}

/** Attach, over a hijacked connection or a WebSocket, and resize. */
export function containerIoRoutes(app: FastifyInstance, services: Services): void {
  const { containers } = services;

  app.post<Named>('/containers/:name/attach', async (request, reply) => {
    const asked = attachRequest(new Query(request.query));
    const { record, tty, stdin, attachment } = await open(services, request, asked);
    const contentType = wantsUpgrade(request, 'tcp') ? streamType(request, tty) : rawStreamType;
    const connection = hijack(request, reply, { protocol: 'tcp', contentType, input: stdin, shutdown: services.shutdown });
    try {
      await joinStdio(connection, attachment, { framed: !tty, stdin, detachKeys: tty ? asked.detachKeys : undefined });
    } catch (error) {
      request.log.error({ err: error, container: record.id }, 'an attached stream failed');
    }
  });

  app.get<Named>('/containers/:name/attach/ws', async (request, reply) => {
    if (!wantsUpgrade(request, 'websocket')) throw invalid('UPGRADE_REQUIRED', 'this route needs the header Upgrade: websocket');
    const query = new Query(request.query);
    // Before 1.42 the three streams could not be chosen.
    const streams = speaks(request, '1.42') ? {} : { stdin: true, stdout: true, stderr: true };
    const accept = takeWebSocket(request);
    const asked = { ...attachRequest(query), ...streams };
    const { record, tty, stdin, attachment } = await open(services, request, asked);
    const connection = accept(reply, { input: stdin, binary: speaks(request, '1.28'), shutdown: services.shutdown });
    try {
      // Never framed: a WebSocket has frames of its own.
      await joinStdio(connection, attachment, { framed: false, stdin, detachKeys: tty ? asked.detachKeys : undefined });
    } catch (error) {
      request.log.error({ err: error, container: record.id }, 'an attached WebSocket failed');
    }
  });

  app.post<Named>('/containers/:name/resize', async (request, reply) => {
    await containers.resize(request.params.name, terminalSize(new Query(request.query)));
    return reply.code(200).send();
  });
}

type AttachRequest = { stdin: boolean; stdout: boolean; stderr: boolean; logs: boolean; stream: boolean; detachKeys: Buffer };

function attachRequest(query: Query): AttachRequest {
  return {
    stdin: query.boolean('stdin'),
    stdout: query.boolean('stdout'),
    stderr: query.boolean('stderr'),
    logs: query.boolean('logs'),
    stream: query.boolean('stream'),
    detachKeys: parseDetachKeys(query.string('detachKeys')),
  };
}

/** Everything that may still be answered with a status happens here. */
async function open({ containers }: Services, request: FastifyRequest<Named>, asked: AttachRequest) {
  const record = await containers.get(request.params.name);
  refuseAttach(record, request.params.name);
  const stdin = asked.stdin && asked.stream && record.config.OpenStdin === true;
  const { stdout, stderr, logs, stream } = asked;
  const attachment = await containers.attach(record.id, { stdin, stdout, stderr, logs, stream });
  return { record, tty: record.config.Tty === true, stdin, attachment };
}

/** `h` and `w`, in Docker's words where they are wrong. */
export function terminalSize(query: Query): { rows: number; columns: number } {
  const size = (name: string, what: string) => {
    const text = query.string(name) ?? '';
    if (!/^-?\d+$/.test(text)) throw invalid('PARAMETER_INVALID', `invalid resize ${what} "${text.slice(0, 100)}": invalid syntax`);
    const value = Number(text);
    if (value < 0 || value > 65_535)
      throw invalid('PARAMETER_INVALID', `invalid resize ${what} "${text.slice(0, 100)}": value out of range`);
    return value;
  };
  return { rows: size('h', 'height'), columns: size('w', 'width') };
}

function refuseAttach({ state }: ContainerRecord, name: string): void {
  if (state.status === 'running' && state.paused) {
    throw new EngineError('Conflict', 'CONTAINER_PAUSED', `container ${name} is paused, unpause the container before attach`);
  }
  if (state.status === 'restarting') {
    throw new EngineError('Conflict', 'CONTAINER_RESTARTING', `container ${name} is restarting, wait until the container is running`);
  }
}
