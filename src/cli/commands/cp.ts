import { existsSync, lstatSync, mkdtempSync, realpathSync, renameSync, rmSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join, posix, resolve } from 'node:path';
import type { ContainerPathStat } from '../../api-types/container-inspect.ts';
import { EngineError } from '../../base/errors.ts';
import { route } from '../client/client.ts';
import { type Context, defineCommand } from '../command.ts';
import { cannot, openInput, refuseTerminal } from '../files.ts';
import { boolean, usageError } from '../flags.ts';
import { tarOf } from '../local-tar.ts';
import { untar } from '../untar.ts';

type Remote = { container: string; path: string };
type Destination = Remote & { archive: boolean };

export const cp = defineCommand({
  args: '<SOURCE> <TARGET>',
  summary: 'Copy files out of a container, or into it',
  description:
    'A source that ends with /. means the content of the folder. With - a tar goes to standard output, or comes from standard input.',
  examples: [
    ['cp web:/var/log/web .', 'a folder, out'],
    ['cp web.conf web:/etc/', 'a file, in'],
  ],
  flags: {
    archive: boolean('Into a container: give the files to its user', { short: 'a' }),
    'follow-link': boolean('Copy what a link at the end of the local source points to', { short: 'L' }),
    quiet: boolean('As Docker’s: no progress is shown anyway', { short: 'q' }),
  },
  async run(context, flags, [source = '', target = '']) {
    const from = parseRemote(source);
    const to = parseRemote(target);
    if (from !== undefined && to === undefined) await copyOut(context, from, target);
    else if (from === undefined && to !== undefined)
      await copyIn(context, flags['follow-link'] && source !== '-' ? realpathSync(source) : source, {
        ...to,
        archive: flags.archive === true,
      });
    else
      throw usageError(
        'one of the two must be CONTAINER:PATH, and the other one local',
        'Between containers: slipway cp A:/x - | slipway cp - B:/y',
      );
  },
});

/** `CONTAINER:PATH`; a colon behind a slash, or a dot in front, belongs to a local name. */
function parseRemote(text: string): Remote | undefined {
  const match = /^([^:/.][^:/]*):(.*)$/s.exec(text);
  return match === null ? undefined : { container: match[1] ?? '', path: match[2] === '' ? '/' : (match[2] ?? '') };
}

function wantsContents(path: string): boolean {
  return /(?:^|\/)\.$/.test(path);
}

async function copyOut(context: Context, from: Remote, target: string): Promise<void> {
  if (target === '-') refuseTerminal(context, target);
  const response = await context.client.call('GET', route`/containers/${from.container}/archive`, { query: { path: from.path } });
  if (target === '-') {
    for await (const chunk of response.body()) context.output.write(chunk);
    return;
  }
  await place(response.body(), { name: decodeStat(response.headers).name, contents: wantsContents(from.path) }, target);
}

/** Into a folder that exists; else under the name given, which appears when all of it is there. */
async function place(tar: AsyncIterable<Uint8Array>, source: { name: string; contents: boolean }, target: string): Promise<void> {
  const into = statSync(target, { throwIfNoEntry: false });
  if (into?.isDirectory()) {
    await untar(tar, target, { strip: source.contents ? 1 : 0 });
    return;
  }
  if (target.endsWith('/') && !source.contents) throw cannot('copy to', target, new Error('there is no such folder'));
  const parent = dirname(resolve(target));
  if (!existsSync(parent)) throw cannot('copy to', target, new Error(`there is no folder ${parent}`));
  const temporary = mkdtempSync(join(parent, '.slipway-cp-'));
  try {
    await untar(tar, temporary);
    renameSync(join(temporary, basename(source.name)), target);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

async function copyIn(context: Context, source: string, to: Destination): Promise<void> {
  if (source === '-') {
    await upload(context, to, to.path, openInput('-'));
    return;
  }
  const stats = statLocal(source);
  const found = await statRemote(context, to);
  const contents = wantsContents(source);
  if (found?.directory) await upload(context, to, found.path, tarOf(source, { name: contents ? '' : basename(resolve(source)) }));
  else if (to.path.endsWith('/') && !stats.isDirectory())
    throw new EngineError('NotFound', 'NO_SUCH_FOLDER', `there is no folder ${to.path} in ${to.container}`);
  else if (found !== undefined && stats.isDirectory())
    throw new EngineError('Conflict', 'NOT_A_FOLDER', `${to.path} in ${to.container} is no folder`);
  else
    await upload(
      context,
      to,
      posix.dirname(found?.path ?? posix.normalize(to.path).replace(/(.)\/$/, '$1')),
      tarOf(source, { name: nameOf(found?.path ?? to.path) }),
    );
}

function nameOf(path: string): string {
  return posix.basename(posix.normalize(path));
}

function statLocal(path: string): Stats {
  try {
    return lstatSync(path);
  } catch (error) {
    throw cannot('copy', path, error);
  }
}

async function upload(
  { client }: Context,
  { container, archive }: Destination,
  path: string,
  tar: AsyncIterable<Uint8Array>,
): Promise<void> {
  const response = await client.call('PUT', route`/containers/${container}/archive`, {
    query: { path, noOverwriteDirNonDir: 'true', copyUIDGID: archive ? 'true' : undefined },
    headers: { 'Content-Type': 'application/x-tar' },
    body: tar,
  });
  await response.text();
}

/** What is at a path, a link at its end followed once; undefined when there is nothing, NotFound when there is no such container. */
async function statRemote({ client }: Context, { container, path }: Remote): Promise<{ path: string; directory: boolean } | undefined> {
  const head = async (at: string) => {
    const response = await client.exchange('HEAD', route`/containers/${container}/archive`, { query: { path: at } });
    response.close();
    return response.status === 200 ? decodeStat(response.headers) : undefined;
  };
  const found = await head(path);
  if (found === undefined) {
    await client.get(route`/containers/${container}/json`);
    return undefined;
  }
  if (!hasBit(found.mode, symlinkBit)) return { path, directory: hasBit(found.mode, directoryBit) };
  const target = posix.resolve(posix.dirname(posix.normalize(path)), found.linkTarget);
  const behind = await head(target);
  return { path: target, directory: behind !== undefined && hasBit(behind.mode, directoryBit) };
}

/** Of Go's os.FileMode. */
const directoryBit = 31;
const symlinkBit = 27;

function hasBit(mode: number, bit: number): boolean {
  return Math.floor(mode / 2 ** bit) % 2 === 1;
}

function decodeStat(headers: ReadonlyMap<string, string>): ContainerPathStat {
  const header = headers.get('x-docker-container-path-stat');
  if (header === undefined) throw new EngineError('Internal', 'NO_PATH_STAT', 'the daemon did not say what it sends');
  return JSON.parse(Buffer.from(header, 'base64').toString('utf8')) as ContainerPathStat;
}
