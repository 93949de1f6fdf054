import { closeSync, createReadStream, fstatSync, fsyncSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { EngineError, errnoOf, isErrno } from '../base/errors.ts';
import type { Context } from './command.ts';

/** A file's bytes, or those of standard input for `-` and undefined. Opened at once, so that a missing file is told before anything is sent. */
export function openInput(path: string | undefined): AsyncIterable<Uint8Array> {
  if (path === undefined || path === '-') {
    if (process.getBuiltinModule('node:tty').isatty(0)) {
      throw new EngineError('InvalidArgument', 'INPUT_IS_TERMINAL', 'there is nothing to read: standard input is a terminal', {
        hint: 'Name a file, or pipe one in.',
      });
    }
    return process.stdin;
  }
  let fd: number;
  try {
    fd = openSync(path, 'r');
    if (fstatSync(fd).isDirectory()) throw Object.assign(new Error('is a directory'), { code: 'EISDIR' });
  } catch (error) {
    throw cannot('read', path, error);
  }
  return createReadStream(path, { fd, highWaterMark: 256 * 1024 });
}

/**
 * Writes a stream to a file, or to standard output for `-` and undefined. A file appears under its name when it is whole; a failed command leaves
 * nothing.
 */
export async function writeOutput(context: Context, path: string | undefined, source: AsyncIterable<Uint8Array>): Promise<void> {
  if (path === undefined || path === '-') {
    for await (const chunk of source) context.output.write(chunk);
    return;
  }
  if (isSpecial(path)) {
    await copyTo(path, path, source);
    return;
  }
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.part`);
  const remove = () => rmSync(temporary, { force: true });
  process.once('exit', remove);
  try {
    await copyTo(temporary, path, source);
    renameSync(temporary, path);
  } finally {
    process.off('exit', remove);
    remove();
  }
}

export function refuseTerminal(context: Context, path: string | undefined): void {
  if ((path === undefined || path === '-') && context.output.isTerminal(1)) {
    throw new EngineError('InvalidArgument', 'OUTPUT_IS_TERMINAL', 'refusing to write an archive to the terminal', {
      hint: 'Use -o FILE, or redirect the output.',
    });
  }
}

async function copyTo(file: string, shown: string, source: AsyncIterable<Uint8Array>): Promise<void> {
  let fd: number;
  try {
    fd = openSync(file, 'w');
  } catch (error) {
    throw cannot('write', shown, error);
  }
  try {
    for await (const chunk of source) for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at);
    if (file !== shown) fsyncSync(fd);
  } catch (error) {
    if (isErrno(error, 'ENOSPC', 'EDQUOT', 'EFBIG')) throw cannot('write', shown, error);
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** A device or pipe, such as /dev/stdout, is written to as it is. */
function isSpecial(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory()) throw cannot('write', path, new Error('it is a directory'));
  return found !== undefined && !found.isFile();
}

export function cannot(verb: string, path: string, error: unknown): EngineError {
  const why: Record<string, string> = {
    ENOENT: 'no such file or directory',
    EACCES: 'permission denied',
    EISDIR: 'it is a directory',
    EEXIST: 'there is something else of that name',
    ENOTDIR: 'not a directory',
    ENOSPC: 'no space left',
  };
  const errno = errnoOf(error);
  const reason = errno === undefined ? (error instanceof Error ? error.message : String(error)) : (why[errno] ?? errno);
  return new EngineError(errno === 'ENOSPC' ? 'NoSpace' : 'InvalidArgument', 'FILE', `cannot ${verb} ${path}: ${reason}`, { cause: error });
}
