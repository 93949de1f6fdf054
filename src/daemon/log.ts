import { type Logger, pino, stdSerializers } from 'pino';
import { toErrorData } from '../base/errors.ts';

export type { Logger };

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** The daemon's own log: one JSON object a line on standard error, written at once so that a crash loses none. */
export function createLog(level: LogLevel): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describe },
    },
    // 2: standard error. Synchronous: lines are few, and the last one before an end is the one that matters.
    pino.destination({ dest: 2, sync: true }),
  );
}

/** An engine error in the fields that people search for; with its chain of causes. */
function describe(error: unknown): unknown {
  if (!(error instanceof Error)) return stdSerializers.err(error as Error);
  const { kind, code, message, hint, stack } = toErrorData(error);
  const cause = error.cause === undefined ? {} : { cause: describe(error.cause) };
  return { kind, code, message, ...(hint === undefined ? {} : { hint }), ...(kind === 'Internal' ? { stack } : {}), ...cause };
}
