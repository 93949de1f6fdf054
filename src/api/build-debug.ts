import { randomBytes } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import type { BuildDebugLine, BuildDebugStart } from '../api-types/build.ts';
import { EngineError } from '../base/errors.ts';
import type { DebuggedStep, StepDebugger } from '../build/port.ts';
import type { StepShell } from '../runtime/port.ts';
import { bodyOf, boolean, type Check, integer, list, object, string } from './decode.ts';
import { hijack, wantsUpgrade } from './hijack.ts';
import { Query } from './query.ts';
import { rawStreamType, streamType, terminalSize } from './routes/container-io.ts';
import { consoleSize } from './schemas/resources.ts';
import type { Services } from './services.ts';
import { joinStdio } from './stdio.ts';

/** How long a failed step waits for its client to connect. */
const waitMs = 60_000;
const defaultShell = ['sh'];

type Offered = {
  readonly step: DebuggedStep;
  readonly end: () => void;
  readonly timer: NodeJS.Timeout;
  shell?: StepShell | undefined;
  taken: boolean;
};

/** Failed steps that wait for the clients of their builds, by an id that only those know. */
export class DebuggedSteps {
  readonly #offered = new Map<string, Offered>();

  /** The debugger of one build, which `announce` tells its client of. Of steps that fail side by side only the first one is offered; the others end with it. */
  ofBuild(announce: (line: BuildDebugLine) => void): StepDebugger {
    let first: Promise<void> | undefined;
    return {
      offer: (step, signal) => {
        first ??= this.#offer(step, signal, announce);
        return first;
      },
    };
  }

  #offer(step: DebuggedStep, signal: AbortSignal, announce: (line: BuildDebugLine) => void): Promise<void> {
    const id = randomBytes(16).toString('hex');
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = () => resolve();
    const offered: Offered = { step, end, timer: setTimeout(end, waitMs), taken: false };
    this.#offered.set(id, offered);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
    announce({ kind: 'debug', id, vertex: step.vertex, name: step.name, message: step.message });
    return promise.finally(() => {
      clearTimeout(offered.timer);
      signal.removeEventListener('abort', end);
      this.#offered.delete(id);
    });
  }

  /** NotFound `BUILD_DEBUG_NOT_FOUND`. */
  get(id: string): Offered {
    const offered = this.#offered.get(id);
    if (offered !== undefined) return offered;
    throw new EngineError('NotFound', 'BUILD_DEBUG_NOT_FOUND', `there is no failed step ${id.slice(0, 100)} to look into`, {
      hint: `A failed step waits ${waitMs / 1000} seconds for its client, and for it alone.`,
    });
  }

  /** For one client, once. */
  take(id: string): Offered {
    const offered = this.get(id);
    if (offered.taken) throw new EngineError('Conflict', 'BUILD_DEBUG_TAKEN', 'somebody looks into this step already');
    offered.taken = true;
    clearTimeout(offered.timer);
    return offered;
  }
}

type Identified = { Params: { id: string } };
const startShape: Check<Partial<BuildDebugStart>> = object({ Cmd: list(string), Tty: boolean, ConsoleSize: list(integer) });

/** A shell in a failed step, over a connection as that of an exec. The build goes on to its error when the shell has ended or its client is gone. */
export function buildDebugRoutes(app: FastifyInstance, services: Services, steps: DebuggedSteps): void {
  app.post<Identified>('/slipway/build-debug/:id/start', async (request, reply) => {
    const body = bodyOf(request.body, startShape);
    const tty = body.Tty === true;
    const size = tty && body.ConsoleSize ? consoleSize(body.ConsoleSize, 'ConsoleSize') : undefined;
    const offered = steps.take(request.params.id);
    try {
      const args = body.Cmd ?? defaultShell;
      const shell = await open(offered.step, args, tty, size).catch((error: unknown) => Promise.reject(asNoShell(error, args)));
      offered.shell = shell;
      const contentType = wantsUpgrade(request, 'tcp') ? streamType(request, tty) : rawStreamType;
      const connection = hijack(request, reply, { protocol: 'tcp', contentType, input: true, shutdown: services.shutdown });
      await joinStdio(connection, shell.attachment, { framed: !tty, stdin: true, detachKeys: undefined });
      shell.kill();
      await shell.ended;
    } finally {
      offered.end();
    }
  });

  app.post<Identified>('/slipway/build-debug/:id/resize', async (request, reply) => {
    steps.get(request.params.id).shell?.resize(terminalSize(new Query(request.query)));
    return reply.code(200).send();
  });
}

function open(step: DebuggedStep, args: readonly string[], tty: boolean, size: [number, number] | undefined): Promise<StepShell> {
  return step.open({ args, tty, stdin: true, size: size === undefined ? undefined : { rows: size[0], columns: size[1] } });
}

/** An image may have no shell. */
function asNoShell(error: unknown, [program = '']: readonly string[]): unknown {
  if (!(error instanceof EngineError) || error.exitCode === undefined) return error;
  return new EngineError(error.kind, 'BUILD_DEBUG_NO_SHELL', `the failed step has no ${program}: ${error.message}`, {
    hint: 'Name a program that is in its image: --debug-command PROGRAM.',
    cause: error,
  });
}
