import { EngineError } from '../base/errors.ts';
import type { Container } from './container.ts';
import type { EngineContext } from './context.ts';
import type { Control } from './control.ts';
import type { Lifecycle } from './lifecycle.ts';

type Parts = { context: EngineContext; lifecycle: Lifecycle; control: Control };

export type RemoveOptions = { force?: boolean | undefined; volumes?: boolean | undefined };

/**
 * `docker rm`. Conflict for one that runs, unless forced, and for one that somebody else removes; forced, that is waited for. From the call on it cannot be
 * started.
 */
export async function removeContainer(
  { context, lifecycle, control }: Parts,
  container: Container,
  { force = false, volumes = false }: RemoveOptions,
): Promise<void> {
  if (container.removal || container.record.state.status === 'removing') {
    if (!force) throw inProgress(container);
    await container.removal?.catch(() => undefined);
  }
  const removal = remove({ context, lifecycle, control }, container, { force, volumes });
  container.removal = removal;
  try {
    await removal;
  } finally {
    if (container.removal === removal) container.removal = undefined;
  }
}

async function remove(
  { context, lifecycle, control }: Parts,
  container: Container,
  { force, volumes }: { force: boolean; volumes: boolean },
): Promise<void> {
  const { status } = container.record.state;
  if (status === 'running' || status === 'restarting') {
    if (!force) throw running(container);
    await end(context, control, container, volumes);
  }
  await container.exclusive(async () => {
    // An automatic removal may have been first.
    if (container.removed) return;
    if (container.record.state.status === 'running') throw running(container);
    await lifecycle.removeLocked(container, { volumes });
  });
}

/** What is about to be done is written first: an engine that dies in between leaves no container that has ended and stays. */
async function end(context: EngineContext, control: Control, container: Container, volumes: boolean): Promise<void> {
  const mark = (intent: Container['intent']) =>
    container.exclusive(async () => {
      if (container.removed) return;
      container.intent = intent;
      await context.registry.saveIfRoom(container);
    });
  await mark({ action: 'remove', atMs: context.now(), volumes });
  try {
    await control.stop(container, { signal: 'SIGKILL' });
  } catch (error) {
    await mark(undefined);
    throw error;
  }
}

function inProgress({ record }: Container): EngineError {
  return new EngineError('Conflict', 'REMOVAL_IN_PROGRESS', `removal of container ${record.name} is already in progress`);
}

function running({ record }: Container): EngineError {
  const { state, name } = record;
  const paused = state.status === 'running' && state.paused;
  const what = paused
    ? 'container is paused and must be unpaused first'
    : `container is ${state.status}: stop the container before removing or force remove`;
  return new EngineError('Conflict', 'CONTAINER_RUNNING', `cannot remove container "/${name}": ${what}`, { hint: `slipway rm -f ${name}` });
}
