import { dispatch } from './dispatch.ts';

// Set by the launcher for this process alone: neither `-e NODE_COMPILE_CACHE` nor a program that is started may carry it on.
delete process.env.NODE_COMPILE_CACHE;

/**
 * The command line's entry. The process ends as soon as the status is known: what is still open then (standard input, a connection) is of no more
 * use, and output has been written synchronously.
 */
dispatch(process.argv.slice(2), process.env).then(
  (status) => process.exit(status),
  (error: unknown) => {
    process.stderr.write(`slipway: ${error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(125);
  },
);
