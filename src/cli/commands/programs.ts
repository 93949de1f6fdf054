import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { EngineError } from '../../base/errors.ts';

/** The engine's other programs. They are found by path, so that the command line's bundle holds none of them. */
const programs = {
  daemon: { bundle: 'daemon.mjs', source: 'daemon/main.ts' },
  doctor: { bundle: 'doctor.mjs', source: 'host/doctor.ts' },
  demo: { bundle: 'demo.mjs', source: 'demo/main.ts' },
} as const;

export type ProgramName = keyof typeof programs;

/** Runs a program with arguments of its own: a module that exports `main(argv): Promise<number>`, the exit status. */
export async function runProgram(name: ProgramName, argv: readonly string[]): Promise<number> {
  const program = (await import(locate(name))) as { main?: (argv: readonly string[]) => Promise<number | undefined> };
  if (typeof program.main !== 'function') throw new EngineError('Internal', 'PROGRAM_INVALID', `the program ${name} has no main`);
  return (await program.main(argv)) ?? 0;
}

/** Beside the bundle, dist/cli.cjs; else among the sources. */
function locate(name: ProgramName): string {
  const here = import.meta.dirname;
  const { bundle, source } = programs[name];
  const found = [join(here, bundle), join(here, '../..', source)].find((path) => existsSync(path));
  if (found === undefined) {
    throw new EngineError('Unavailable', 'PROGRAM_MISSING', `the program ${name} is not in ${here}`, {
      hint: 'Build it again: npm run build',
    });
  }
  return pathToFileURL(found).href;
}
