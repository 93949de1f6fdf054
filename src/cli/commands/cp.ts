import { existsSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { ContainerPathStat } from '../../api-types/container-inspect.ts';
import { EngineError } from '../../base/errors.ts';
import { route } from '../client/client.ts';
import { defineCommand } from '../command.ts';
import { cannot } from '../files.ts';
import { usageError } from '../flags.ts';
import { untar } from '../untar.ts';

export const cp = defineCommand({
  usage: 'CONTAINER:PATH LOCAL-PATH|-',
  summary: 'Copy files out of a container',
  description: 'With - as the target, a tar goes to standard output. A source that ends with /. means the content of the folder.',
  args: [2, 2],
  flags: {},
  async run(context, _flags, [source = '', target = '']) {
    const from = parseRemote(source);
    if (from === undefined) {
      if (parseRemote(target) === undefined) throw usageError('one of the two must be CONTAINER:PATH');
      throw new EngineError('Unsupported', 'COPY_IN', 'copying into a container is not supported', {
        hint: 'Mount a folder or volume (-v), or COPY it in a build.',
      });
    }
    const response = await context.client.call('GET', route`/containers/${from.container}/archive`, { query: { path: from.path } });
    if (target === '-') {
      for await (const chunk of response.body()) context.output.write(chunk);
      return;
    }
    const name = statOf(response.headers.get('x-docker-container-path-stat')).name;
    await place(response.body(), { name, contents: /(?:^|\/)\.$/.test(from.path) }, target);
  },
});

/** `CONTAINER:PATH`; a colon behind a slash or a dot in front belongs to a local name. */
function parseRemote(text: string): { container: string; path: string } | undefined {
  const match = /^([^:/.][^:/]*):(.*)$/s.exec(text);
  return match === null ? undefined : { container: match[1] ?? '', path: match[2] === '' ? '/' : (match[2] ?? '') };
}

function statOf(header: string | undefined): ContainerPathStat {
  if (header === undefined) throw new EngineError('Internal', 'NO_PATH_STAT', 'the daemon did not say what it sends');
  return JSON.parse(Buffer.from(header, 'base64').toString('utf8')) as ContainerPathStat;
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
