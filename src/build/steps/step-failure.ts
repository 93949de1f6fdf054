import type { EngineError } from '../../base/errors.ts';
import type { FailedStep, StepResult } from '../../runtime/port.ts';
import { errorAt } from '../graph/place.ts';
import type { Place, RunOperation } from '../graph/vertex.ts';
import type { StepContext } from '../solver/executor.ts';

/** Of names that were refused, in the error. */
const mostNames = 5;

/** InvalidArgument `BUILD_STEP_FAILED`, or `BUILD_STEP_OUT_OF_MEMORY` when the kernel killed in it. */
export function stepFailure(operation: RunOperation, result: StepResult, place: Place | undefined): EngineError {
  const { exitCode, memoryKills = 0, refusedHosts = [] } = result;
  const message = `"${commandOf(operation)}" ended with exit code ${exitCode}${reasonOf(exitCode)}`;
  if (memoryKills > 0) {
    const limit = shownBytes(operation.limits?.memoryBytes ?? 0);
    const processes = memoryKills === 1 ? 'a process' : `${memoryKills} processes`;
    return errorAt(
      place,
      'InvalidArgument',
      'BUILD_STEP_OUT_OF_MEMORY',
      `${message}: the kernel killed ${processes} of it at its limit of ${limit} of memory`,
      {
        hint: 'Give the step more memory (--memory, or memoryBytes of its limits), or have it do less at a time.',
        exitCode,
      },
    );
  }
  const refused = refusedHosts.slice(0, mostNames).join(', ') + (refusedHosts.length > mostNames ? ', …' : '');
  return errorAt(place, 'InvalidArgument', 'BUILD_STEP_FAILED', message, {
    hint:
      refused === ''
        ? "The step's output says why."
        : `It asked for hosts that it may not reach: ${refused}. Allow them, or see its output.`,
    exitCode,
  });
}

/** A step may go on when a process of it was killed, and end with 0. */
export function memoryWarning(name: string, { limits }: RunOperation): string {
  return `${name.slice(0, 200)}: the kernel killed in it at its limit of ${shownBytes(limits?.memoryBytes ?? 0)} of memory, and it ended with 0 all the same`;
}

/** Offers the failed step to whoever debugs the build. Nobody else waits meanwhile: the step gives back its place among those that run. */
export function offerTo(context: StepContext, operation: RunOperation): ((failed: FailedStep) => Promise<void>) | undefined {
  const { debug, vertex, signal, leavePlace } = context;
  if (debug === undefined) return undefined;
  return async ({ exitCode, open }) => {
    if (signal.aborted) return;
    leavePlace?.();
    const { message } = stepFailure(operation, { exitCode, stubs: [] }, vertex.place);
    await debug.offer({ vertex: vertex.id, name: vertex.name, message, open }, signal);
  };
}

function commandOf({ args }: RunOperation): string {
  const command = args.join(' ');
  return command.length > 200 ? `${command.slice(0, 200)}…` : command;
}

function reasonOf(exitCode: number): string {
  if (exitCode === 127) return ' (the command was not found)';
  return exitCode === 126 ? ' (the command could not be executed)' : '';
}

function shownBytes(bytes: number): string {
  const [unit, size] = bytes >= 1 << 30 ? (['GiB', 1 << 30] as const) : (['MiB', 1 << 20] as const);
  return `${Number((bytes / size).toFixed(1))} ${unit}`;
}
