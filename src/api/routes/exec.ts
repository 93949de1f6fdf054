import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ExecInspect } from '../../api-types/container-inspect.ts';
import { execErrorsHeader, FrameStream } from '../../api-types/own.ts';
import { EngineError } from '../../base/errors.ts';
import type { Attachment, ExecRecord } from '../../runtime/port.ts';
import { bodyOf } from '../decode.ts';
import { parseDetachKeys } from '../detach-keys.ts';
import { invalid } from '../errors.ts';
import { frame } from '../framing.ts';
import { type HijackedConnection, hijack, wantsUpgrade } from '../hijack.ts';
import { Query } from '../query.ts';
import { execCreate, execStart } from '../schemas/container.ts';
import { consoleSize } from '../schemas/resources.ts';
import type { Services } from '../services.ts';
import { joinStdio } from '../stdio.ts';
import { rawStreamType, streamType, terminalSize } from './container-io.ts';

type Identified = { Params: { id: string } };

/** Exec: create, start, inspect, resize. */
export function execRoutes(app: FastifyInstance, services: Services): void {
  const { containers } = services;

  app.post<{ Params: { name: string } }>('/containers/:name/exec', async (request, reply) => {
    const body = bodyOf(request.body, execCreate, { required: true });
    if (body.Cmd === undefined || body.Cmd === null || body.Cmd.length === 0)
      throw invalid('EXEC_COMMAND_MISSING', 'No exec command specified');
    if (body.DetachKeys) parseDetachKeys(body.DetachKeys);
    const exec = await containers.execCreate(request.params.name, {
      args: body.Cmd,
      tty: body.Tty ?? false,
      openStdin: body.AttachStdin ?? false,
      attachStdout: body.AttachStdout ?? false,
      attachStderr: body.AttachStderr ?? false,
      env: body.Env ?? [],
      privileged: body.Privileged ?? false,
      ...(body.User ? { user: body.User } : {}),
      ...(body.WorkingDir ? { workingDir: body.WorkingDir } : {}),
      ...(body.DetachKeys ? { detachKeys: body.DetachKeys } : {}),
    });
    return reply.code(201).send({ Id: exec.id });
  });

  app.post<Identified>('/exec/:id/start', async (request, reply) => {
    const body = bodyOf(request.body, execStart);
    const exec = await containers.execGet(request.params.id);
    const size = body.ConsoleSize ? consoleSize(body.ConsoleSize, 'ConsoleSize') : undefined;
    const contentType = wantsUpgrade(request, 'tcp') ? streamType(request.originalUrl, exec.tty) : rawStreamType;
    const takeOver = () => hijack(request, reply, { protocol: 'tcp', contentType, input: exec.openStdin, shutdown: services.shutdown });
    let attachment: Attachment | undefined;
    try {
      attachment = await containers.execStart(exec.id, {
        detach: body.Detach ?? false,
        ...(size === undefined ? {} : { size: { rows: size[0], columns: size[1] } }),
      });
    } catch (error) {
      if (!tellsInStream(request, error)) throw error;
      await tellAsOutput(takeOver(), error, exec.tty);
      return;
    }
    if (attachment === undefined) return reply.code(200).send();
    const connection = takeOver();
    try {
      await joinStdio(connection, attachment, { tty: exec.tty, stdin: exec.openStdin, detachKeys: parseDetachKeys(exec.detachKeys) });
    } catch (error) {
      request.log.error({ err: error, exec: exec.id }, 'the stream of an exec failed');
    }
  });

  app.get<Identified>('/exec/:id/json', async (request) => inspectExec(await containers.execGet(request.params.id)));

  app.post<Identified>('/exec/:id/resize', async (request, reply) => {
    await containers.execResize(request.params.id, terminalSize(new Query(request.query)));
    return reply.code(200).send();
  });
}

/**
 * Docker's client shows nothing of an answer other than 101, and takes the exit code from the exec's inspection: for it, why a command cannot be
 * run is the output. Slipway's own asks for the status.
 */
function tellsInStream(request: FastifyRequest, error: unknown): error is EngineError {
  return (
    error instanceof EngineError &&
    (error.exitCode === 126 || error.exitCode === 127) &&
    wantsUpgrade(request, 'tcp') &&
    request.headers[execErrorsHeader] !== 'status'
  );
}

async function tellAsOutput(connection: HijackedConnection, { message }: EngineError, tty: boolean): Promise<void> {
  const text = Buffer.from(`${message}\r\n`);
  await connection.write(tty ? text : frame(FrameStream.stdout, text));
  connection.close();
}

function inspectExec(exec: ExecRecord): ExecInspect {
  const [entrypoint = '', ...args] = exec.args;
  return {
    ID: exec.id,
    Running: exec.state.status === 'running',
    ExitCode: exec.state.status === 'exited' ? exec.state.exitCode : null,
    ProcessConfig: {
      tty: exec.tty,
      entrypoint,
      arguments: args,
      privileged: exec.privileged,
      ...(exec.user === undefined ? {} : { user: exec.user }),
    },
    OpenStdin: exec.openStdin,
    OpenStderr: exec.attachStderr,
    OpenStdout: exec.attachStdout,
    CanRemove: exec.state.status === 'exited',
    ContainerID: exec.containerId,
    DetachKeys: exec.detachKeys ?? '',
    Pid: exec.state.status === 'running' ? exec.state.pid : 0,
  };
}
