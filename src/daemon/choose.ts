import { spawnSync } from 'node:child_process';
import { EngineError } from '../base/errors.ts';
import { crunPrefix, objectionToCrun } from '../host/crun.ts';
import { aptInstall } from '../host/packages.ts';
import { findProgram, requireProgram } from '../host/programs.ts';
import type { DaemonConfig } from './config.ts';
import type { RuntimeProgram } from './config-values.ts';

export type Programs = {
  conmon: string;
  aardvark: string | undefined;
  init: string | undefined;
  runtimes: Record<string, RuntimeProgram>;
  defaultRuntime: string;
};

/** Unavailable `HELPER_MISSING` names the first one that is missing and the package that brings it. */
export function findPrograms(config: DaemonConfig): Programs {
  const found: Record<string, RuntimeProgram> = Object.fromEntries(
    ['runc', 'crun'].flatMap((name) => {
      const path = findProgram(name);
      return path === undefined ? [] : [[name, { path }]];
    }),
  );
  const runtimes = { ...found, ...config.runtimes };
  if (Object.keys(runtimes).length === 0) requireProgram('runc', 'runc');
  return {
    conmon: config.conmon ?? requireProgram('conmon', 'conmon'),
    aardvark: config.network.aardvarkDns ?? findProgram('aardvark-dns'),
    init: config.init ?? findProgram('catatonit'),
    runtimes,
    defaultRuntime: config.defaultRuntime ?? chooseRuntime(runtimes),
  };
}

/** crun where it works: it is the quicker one (docs/adr/0098). */
function chooseRuntime(runtimes: Programs['runtimes']): string {
  const objection = runtimes.crun === undefined ? 'it is not installed' : objectionToCrun(versionOf(runtimes.crun.path), crunPrefix());
  if (objection === undefined) return 'crun';
  const chosen = Object.keys(runtimes).filter((name) => name !== 'crun')[0];
  if (chosen !== undefined) return chosen;
  throw new EngineError('Unavailable', 'RUNTIME_MISSING', `crun cannot be used here (${objection}), and there is no other runtime`, {
    hint: `Install runc: ${aptInstall('runc')}.`,
  });
}

function versionOf(program: string): string | undefined {
  const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8', timeout: 5_000 });
  return /version (\S+)/.exec(stdout ?? '')?.[1];
}
