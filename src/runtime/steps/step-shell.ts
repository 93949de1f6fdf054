import { ExecAttachment } from '../exec-attachment.ts';
import { execEnds } from '../exec-stdio.ts';
import type { StepShell, StepShellOptions } from '../port.ts';
import type { Bundle } from './step-bundle.ts';
import { type Parts, StepContainer } from './step-container.ts';

/** Starts what a bundle describes with a client's terminal or pipes. It is ended, and taken away, by disposing of `cleanup`. */
export async function startShell(
  bundle: Bundle,
  { tty, stdin, size }: StepShellOptions,
  parts: Parts,
  cleanup: AsyncDisposableStack,
): Promise<StepShell> {
  const wanted = { tty, openStdin: stdin, attachStdout: true, attachStderr: true };
  const ends = execEnds(wanted, bundle.path, false);
  let container: StepContainer;
  try {
    container = await StepContainer.start(bundle, parts, ends.child, ends.console?.path);
  } catch (error) {
    ends.close();
    throw error;
  }
  const stdio = ends.open();
  if (size !== undefined) stdio.resize?.(size);
  const attachment = new ExecAttachment(stdio, container.ended);
  cleanup.defer(async () => {
    await container.remove();
    attachment.abandon();
  });
  return {
    attachment,
    ended: container.ended.then(({ exitCode }) => exitCode),
    resize: (now) => stdio.resize?.(now),
    kill: () => container.kill(),
  };
}
