import type { ProgressMessage } from '../../api-types/build.ts';
import { EngineError, type ErrorData, fromErrorData } from '../../base/errors.ts';
import type { Response } from '../client/connection.ts';
import { jsonLines } from '../client/lines.ts';
import type { TransferView } from './progress.ts';

/** Reads the stream of a pull or push to its end. What has neither id nor counters goes to `onLine`, `aux` to `onAux`. Throws the stream's error. */
export async function followTransfer(
  response: Response,
  view: TransferView,
  { onAux }: { onAux: (aux: NonNullable<ProgressMessage['aux']>) => void },
): Promise<void> {
  let ended = false;
  for await (const line of jsonLines<ProgressMessage>(response)) {
    if (line.error !== undefined) throw failureOf(line, line.error);
    if (line.aux !== undefined) {
      ended = true;
      onAux(line.aux);
    } else if (line.status !== undefined) view.step(line);
  }
  if (ended) return;
  throw new EngineError('Unavailable', 'ANSWER_CUT', 'the daemon closed the connection before it was done', {
    hint: 'Look at its log ("journalctl -u slipway" when systemd runs it) and try again: what came through is kept.',
  });
}

function failureOf({ errorDetail }: ProgressMessage, message: string): EngineError {
  if (errorDetail !== undefined && 'kind' in errorDetail) return fromErrorData(errorDetail satisfies ErrorData);
  return new EngineError('Internal', 'STREAM_ERROR', errorDetail?.message ?? message);
}

/** Ctrl-C closes the connection, which cancels the transfer, and gives the terminal back. */
export function cancellable(view: TransferView): { signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const interrupt = (name: NodeJS.Signals) => {
    view.close();
    controller.abort(new EngineError('Cancelled', 'INTERRUPTED', `interrupted by ${name}`));
  };
  for (const name of names) process.once(name, interrupt);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const name of names) process.off(name, interrupt);
      view.close();
    },
  };
}
