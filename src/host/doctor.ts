import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { errnoOf } from '../base/errors.ts';
import { inspectHost } from './inspect.ts';
import { renderReport } from './report.ts';

const usage = `Usage: slipway doctor [--json] [--root DIR] [--run DIR]

Shows what this host offers, what the engine would use of it and why, what is missing and how to get it. Changes nothing; works without
the daemon and without root. Exit status: 0 when the engine can run here, 1 when something that it needs is missing.

  --json      the same as JSON
  --root DIR  the engine's root to look at (default /var/lib/slipway)
  --run DIR   its run directory (default /run/slipway)
`;

/** `slipway doctor`. `argv` is what follows `doctor`. Resolves to the exit status; 125 for a wrong command line. */
export async function main(argv: readonly string[]): Promise<number> {
  let options: { json?: boolean; root?: string; run?: string; help?: boolean };
  try {
    options = parseArgs({
      args: [...argv],
      options: { json: { type: 'boolean' }, root: { type: 'string' }, run: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    }).values;
  } catch (error) {
    process.stderr.write(`slipway doctor: ${error instanceof Error ? error.message : String(error)}\n${usage}`);
    return 125;
  }
  if (options.help) {
    process.stdout.write(usage);
    return 0;
  }
  const report = await inspectHost({ root: resolve(options.root ?? '/var/lib/slipway'), run: resolve(options.run ?? '/run/slipway') });
  const colour = process.stdout.isTTY === true && !process.env.NO_COLOR;
  await print(options.json ? `${JSON.stringify(report, undefined, 2)}\n` : renderReport(report, { colour }));
  return report.ready ? 0 : 1;
}

/** Resolves when the text is out, so that an exit right after loses none of it. A reader that went away is no error. */
function print(text: string): Promise<void> {
  return new Promise((done, reject) => {
    process.stdout.once('error', (error) => (errnoOf(error) === 'EPIPE' ? done() : reject(error)));
    process.stdout.write(text, () => done());
  });
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
