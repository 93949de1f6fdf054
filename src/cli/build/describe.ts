import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import { cannot } from '../files.ts';
import { usageError } from '../flags.ts';

/** More than any sound one; an endless one must not fill the memory. */
const maxBytes = 16 * 1024 * 1024;
const timeoutMs = 60_000;

/** Whether `-f` names a build definition and not a Dockerfile. */
export function isDefinition(file: string | undefined): file is string {
  return file !== undefined && /\.(?:[cm]?[jt]s|json)$/.test(file);
}

/**
 * A build definition as JSON (docs/formats/build-definition.md): the file itself, or what a module of TypeScript or JavaScript describes. The module runs in a process of its own that may
 * read the folder of its package and nothing else, and can neither write, start programs nor reach the network.
 */
export async function describeBuild(file: string, input: { args: Record<string, string>; target: string }): Promise<string> {
  if (file.endsWith('.json')) {
    try {
      return readFileSync(file, 'utf8');
    } catch (error) {
      throw cannot('read the build definition', file, error);
    }
  }
  const path = resolve(file);
  if (!existsSync(path)) throw usageError(`there is no build definition ${file}`);
  return evaluate(path, file, JSON.stringify(input));
}

function evaluate(path: string, file: string, input: string): Promise<string> {
  const own = evaluator();
  const readable = [packageFolder(dirname(path)), own.endsWith('.ts') ? dirname(dirname(own)) : dirname(own)].map(
    (folder) => `--allow-fs-read=${folder}`,
  );
  const child = spawn(process.execPath, ['--permission', ...readable, own, path, input], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { NODE_NO_WARNINGS: '1' },
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  return new Promise((settle, reject) => {
    const out: Buffer[] = [];
    let outBytes = 0;
    let told = '';
    const tooMuch = () => outBytes > maxBytes;
    child.stdout.on('data', (data: Buffer) => {
      outBytes += data.length;
      out.push(data);
      if (tooMuch()) child.kill('SIGKILL');
    });
    child.stderr.on('data', (data: Buffer) => {
      if (told.length < 20_000) told += data.toString();
    });
    child.once('error', (error) => reject(cannot('evaluate the build definition', file, error)));
    child.once('close', (code, killedBy) => {
      if (code === 0 && !tooMuch()) {
        if (told !== '') process.stderr.write(told);
        settle(Buffer.concat(out).toString('utf8'));
        return;
      }
      const why = tooMuch()
        ? `it describes more than ${maxBytes} bytes`
        : killedBy !== null
          ? `it did not end within ${timeoutMs / 1000} s`
          : `it failed:\n${told.trimEnd()}`;
      reject(
        new EngineError('InvalidArgument', 'DEFINITION_FAILED', `${file} describes no build: ${why}`, { hint: hintOf(told), exitCode: 1 }),
      );
    });
  });
}

function hintOf(told: string): string | undefined {
  if (!told.includes('ERR_ACCESS_DENIED')) return undefined;
  return 'A definition only describes: it reads files of its own package, and uses no network, no other program and no other folder. Let a step do it.';
}

/** The nearest folder above with a package.json; the definition's own without one. */
function packageFolder(from: string): string {
  for (let folder = from; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) return from;
  }
}

/** Beside the bundle of the command line; among the sources where that is run from them. */
function evaluator(): string {
  const bundled = join(import.meta.dirname, 'evaluate.mjs');
  return existsSync(bundled) ? bundled : join(import.meta.dirname, '../../build-api/evaluate.ts');
}
