import { execFile } from 'node:child_process';
import { basename } from 'node:path';
import { promisify } from 'node:util';

export type Component = { name: string; version: string; commit: string };

const run = promisify(execFile);
const known = new Map<string, Promise<Component | undefined>>();

/** What a program says of itself (`runc version 1.1.5`, `commit: …`); undefined when it does not run. Asked once a path. */
export function describeProgram(path: string): Promise<Component | undefined> {
  const asked = known.get(path) ?? ask(path);
  known.set(path, asked);
  return asked;
}

async function ask(path: string): Promise<Component | undefined> {
  try {
    const { stdout } = await run(path, ['--version'], { timeout: 5_000, maxBuffer: 65_536 });
    const version = /\bversion\s+v?(\d\S*)/i.exec(stdout)?.[1] ?? '';
    const commit = /\b(?:commit:?\s+|git\.)(\S+)/i.exec(stdout)?.[1] ?? '';
    return { name: basename(path), version, commit: commit.replace(/[.,;]+$/, '') };
  } catch {
    return undefined;
  }
}
