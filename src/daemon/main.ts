import { toErrorData } from '../base/errors.ts';
import { notifyReady } from '../host/notify.ts';
import { loadConfig } from './config.ts';
import { daemonUsage } from './config-sources.ts';
import { startDaemon } from './daemon.ts';
import { createLog, type Logger } from './log.ts';

/**
 * `slipway daemon`: runs the engine until SIGTERM or SIGINT, then ends it and leaves containers running; SIGHUP reloads. Resolves to the exit status: 0 after
 * a signal, 125 when it could not start, 1 when it broke. `argv` is what follows `daemon`.
 */
export async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(daemonUsage());
    return 0;
  }
  const stopping = new AbortController();
  const stop = (signal: NodeJS.Signals) => stopping.abort(signal);
  process.on('SIGTERM', stop).on('SIGINT', stop);
  // Before there is anything to reload, a terminal that closes is no reason to die.
  let reload = () => {};
  process.on('SIGHUP', () => reload());
  try {
    const config = loadConfig(argv, process.env);
    const log = createLog(config.logLevel);
    surviveAccidents(log);
    const daemon = await startDaemon(config, { log, signal: stopping.signal });
    reload = () =>
      void daemon.reload().then(
        () => log.info('reloaded'),
        (error: unknown) => log.error({ err: error }, 'could not reload; what was in use stays'),
      );
    const unheard = await notifyReady();
    if (unheard !== undefined) log.warn(unheard);
    await new Promise<void>((resolve) => {
      if (stopping.signal.aborted) resolve();
      stopping.signal.addEventListener('abort', () => resolve());
    });
    log.info({ signal: stopping.signal.reason }, 'stopping; containers go on');
    await daemon.stop();
    return 0;
  } catch (error) {
    if (stopping.signal.aborted) return 0;
    const { message, hint } = toErrorData(error);
    process.stderr.write(`slipway daemon: ${message}\n${hint === undefined ? '' : `${hint}\n`}`);
    return 125;
  }
}

/** System calls of one connection or one file: their failure leaves the rest of the engine as sound as it was. */
const harmlessCalls = new Set(['read', 'write', 'writev', 'shutdown', 'connect', 'sendmsg', 'recvmsg']);

/**
 * A promise that nobody waited for and that failed is one request's or one container's trouble: it is logged, and the engine goes on. A thrown
 * exception may have left anything half done, so the process ends; containers run on and the next start adopts them.
 */
function surviveAccidents(log: Logger): void {
  process.on('unhandledRejection', (error) => log.error({ err: error }, 'a promise failed that nobody waited for'));
  process.on('uncaughtException', (error) => {
    if ('syscall' in error && harmlessCalls.has(String(error.syscall))) {
      log.error({ err: error }, 'a connection failed that nobody watched');
      return;
    }
    log.fatal({ err: error, stack: error.stack }, 'the daemon broke');
    process.exit(1);
  });
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
