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
import { speaks } from '../version.ts';
import { rawStreamType, streamType, terminalSize } from './container-io.ts';

type Identified = { Params: { id: string } };

/** Exec: create, start, inspect, resize. */
export function execRoutes(app: FastifyInstance, services: Services): void {
  const { containers } = services;
  /** Sizes given at creation, for the start; a few numbers for each exec that has not been started. */
  const sizes = new Map<string, [number, number]>();

  app.post<{ Params: { name: string } }>('/containers/:name/exec', async (request, reply) => {
    const body = bodyOf(request.body, execCreate, { required: true });
    if (body.Cmd === undefined || body.Cmd === null || body.Cmd.length === 0)
      throw invalid('EXEC_COMMAND_MISSING', 'No exec command specified');
    if (body.DetachKeys) parseDetachKeys(body.DetachKeys);
    const size = body.Tty && body.ConsoleSize && speaks(request, '1.42') ? consoleSize(body.ConsoleSize, 'ConsoleSize') : undefined;
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
    if (size !== undefined) remember(sizes, exec.id, size);
    return reply.code(201).send({ Id: exec.id });
  });

  app.post<Identified>('/exec/:id/start', async (request, reply) => {
    const body = bodyOf(request.body, execStart);
    const exec = await containers.execGet(request.params.id);
    const asked = body.ConsoleSize && speaks(request, '1.42') ? consoleSize(body.ConsoleSize, 'ConsoleSize') : sizes.get(exec.id);
    const size = exec.tty && asked !== undefined ? { rows: asked[0], columns: asked[1] } : undefined;
    // As in Docker it is this request, and not the exec itself, that says whether its client expects frames.
    const framed = body.Tty !== true;
    const contentType = wantsUpgrade(request, 'tcp') ? streamType(request, !framed) : rawStreamType;
    const takeOver = () => hijack(request, reply, { protocol: 'tcp', contentType, input: exec.openStdin, shutdown: services.shutdown });
    let attachment: Attachment | undefined;
    try {
      attachment = await containers.execStart(exec.id, { detach: body.Detach ?? false, ...(size === undefined ? {} : { size }) });
    } catch (error) {
      if (body.Detach === true || !tellsInStream(request, error)) throw error;
      await tellAsOutput(takeOver(), error, framed);
      return;
    } finally {
      sizes.delete(exec.id);
    }
    if (attachment === undefined) return reply.code(200).send();
    const connection = takeOver();
    const detachKeys = exec.tty ? parseDetachKeys(exec.detachKeys) : undefined;
    try {
      await joinStdio(connection, attachment, { framed, stdin: exec.openStdin, detachKeys });
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

/** Execs that nobody starts must not fill the memory: past some thousands the oldest are forgotten, and start in the default size. */
function remember(sizes: Map<string, [number, number]>, id: string, size: [number, number]): void {
  sizes.set(id, size);
  const [oldest] = sizes.keys();
  if (sizes.size > 4096 && oldest !== undefined) sizes.delete(oldest);
}

/**
 * Docker's clients take the exit code from the exec's inspection, and some (Testcontainers) try commands that an image may lack: for them, why a
 * command cannot be run is the output, with or without an upgrade. Slipway's own asks for the status.
 */
function tellsInStream(request: FastifyRequest, error: unknown): error is EngineError {
  return (
    error instanceof EngineError && (error.exitCode === 126 || error.exitCode === 127) && request.headers[execErrorsHeader] !== 'status'
  );
}

async function tellAsOutput(connection: HijackedConnection, { message }: EngineError, framed: boolean): Promise<void> {
  const text = Buffer.from(`${message}\r\n`);
  await connection.write(framed ? frame(FrameStream.stdout, text) : text);
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
