import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import { cannot } from '../files.ts';
import { usageError } from '../flags.ts';

/** More than any sound one; an endless one must not fill the memory. */
const maxBytes = 16 * 1024 * 1024;
const defaultTimeoutMs = 60_000;
const defaultMemoryBytes = 1024 ** 3;
const watchMs = 50;

/** Whether `-f` names a build definition and not a Dockerfile. */
export function isDefinition(file: string | undefined): file is string {
  return file !== undefined && /\.(?:[cm]?[jt]s|json)$/.test(file);
}

/**
 * A build definition as JSON (docs/formats/build-definition.md): the file itself, or what a module of TypeScript or JavaScript describes. The module runs in a process of its own that may
 * read the folder of its package and nothing else, and can neither write, start programs nor reach the network; `limits` end it.
 */
export async function describeBuild(
  file: string,
  input: { args: Record<string, string>; target: string },
  limits: Limits = {},
): Promise<string> {
  if (file.endsWith('.json')) {
    try {
      return readFileSync(file, 'utf8');
    } catch (error) {
      throw cannot('read the build definition', file, error);
    }
  }
  const path = resolve(file);
  if (!existsSync(path)) throw usageError(`there is no build definition ${file}`);
  return evaluate(path, file, JSON.stringify(input), limits);
}

type Limits = { readonly timeoutMs?: number | undefined; readonly memoryBytes?: number | undefined };

function evaluate(path: string, file: string, input: string, limits: Limits): Promise<string> {
  const { timeoutMs = defaultTimeoutMs, memoryBytes = defaultMemoryBytes } = limits;
  const own = evaluator();
  const readable = [packageFolder(dirname(path)), own.endsWith('.ts') ? dirname(dirname(own)) : dirname(own)].map(
    (folder) => `--allow-fs-read=${folder}`,
  );
  const heap = `--max-old-space-size=${Math.ceil(memoryBytes / 2 ** 20)}`;
  const [program = '', ...args] = [...withoutNetwork(), process.execPath, '--permission', heap, ...readable, own, path, input];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { NODE_NO_WARNINGS: '1', PATH: process.env.PATH } });
  let stopped: string | undefined;
  const stop = (why: string) => {
    stopped ??= why;
    child.kill('SIGKILL');
  };
  const deadline = setTimeout(() => stop(`it did not end within ${timeoutMs / 1000} s`), timeoutMs);
  // V8's own limit leaves out what lies in buffers.
  const watch = setInterval(() => {
    if (residentBytes(child.pid) > memoryBytes) stop(`it takes more than ${Math.round(memoryBytes / 2 ** 20)} MiB of memory`);
  }, watchMs);
  return new Promise((settle, reject) => {
    const out: Buffer[] = [];
    let outBytes = 0;
    let told = '';
    child.stdout.on('data', (data: Buffer) => {
      outBytes += data.length;
      if (outBytes <= maxBytes) out.push(data);
      else stop(`it describes more than ${maxBytes} bytes`);
    });
    child.stderr.on('data', (data: Buffer) => {
      if (told.length < 20_000) told += data.toString();
    });
    child.once('error', (error) => reject(cannot('evaluate the build definition', file, error)));
    child.once('close', (code, killedBy) => {
      clearTimeout(deadline);
      clearInterval(watch);
      if (code === 0 && stopped === undefined) {
        if (told !== '') process.stderr.write(told);
        settle(Buffer.concat(out).toString('utf8'));
        return;
      }
      const isFull = killedBy === 'SIGABRT' || /heap out of memory/.test(told);
      const why =
        stopped ?? (isFull ? `it takes more than ${Math.round(memoryBytes / 2 ** 20)} MiB of memory` : `it failed:\n${told.trimEnd()}`);
      reject(
        new EngineError('InvalidArgument', 'DEFINITION_FAILED', `${file} describes no build: ${why}`, { hint: hintOf(told), exitCode: 1 }),
      );
    });
  });
}

/** A network name space with nothing in it, where the kernel lets us make one. Node's permission model keeps the network away in any case; this holds where that has a hole. */
function withoutNetwork(): readonly string[] {
  const words = ['unshare', '--user', '--map-root-user', '--net', '--'];
  const [program = '', ...args] = [...words, 'true'];
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0 ? words : [];
}

/** 0 when it has ended. */
function residentBytes(pid: number | undefined): number {
  try {
    const pages = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1];
    return Number(pages) * 4096;
  } catch {
    return 0;
  }
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
