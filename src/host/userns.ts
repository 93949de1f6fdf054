import { readFileSync } from 'node:fs';
import { EngineError, isErrno } from '../base/errors.ts';
import type { IdMap, IdRange } from '../snapshot/port.ts';
import { readText } from './kernel.ts';
import { findProgram, runProgram } from './programs.ts';
import type { Choice } from './report.ts';

/** Whose ids `userns-remap = "default"` takes; made with ranges of its own when it is not there. */
export const defaultRemapUser = 'slipway-remap';

/** What is looked up. Tests put files of their own here. */
export type UserDatabase = {
  /** A line of passwd(5) or group(5) for a name or number; undefined when there is none. */
  entry(database: 'passwd' | 'group', key: string): Promise<string | undefined>;
  /** subuid(5) and subgid(5). */
  ranges(file: 'subuid' | 'subgid'): string;
  /** Makes a system user and group of this name with ranges of 65,536 ids. */
  addUser(name: string): Promise<void>;
};

export type Remap = { user: string; group: string; idMap: IdMap };

const rangeSize = 65_536;
const firstId = 100_000;

/**
 * The ids of `userns-remap`: `default`, `USER` or `USER:GROUP`, each a name or a number, as dockerd takes it. InvalidArgument `USERNS_REMAP_INVALID`
 * names what is missing.
 */
export async function resolveRemap(setting: string, database: UserDatabase = hostDatabase): Promise<Remap> {
  const [wanted = '', wantedGroup] = setting.split(':');
  const name = wanted === 'default' ? defaultRemapUser : wanted;
  if (wanted === 'default' && (await database.entry('passwd', name)) === undefined) await database.addUser(name);
  const [user = '', , uid = ''] = (await required(database, 'passwd', name)).split(':');
  // Without a group, that of the user's own name or number.
  const [group = ''] = (await required(database, 'group', wantedGroup ?? (/^\d+$/.test(name) ? uid : user))).split(':');
  return {
    user,
    group,
    idMap: {
      uids: rangesOf(database.ranges('subuid'), 'subuid', user, uid),
      gids: rangesOf(database.ranges('subgid'), 'subgid', group, uid),
    },
  };
}

async function required(database: UserDatabase, kind: 'passwd' | 'group', key: string): Promise<string> {
  const line = await database.entry(kind, key);
  if (line !== undefined) return line;
  const what = kind === 'passwd' ? 'user' : 'group';
  throw invalid(`there is no ${what} ${JSON.stringify(key)}`, `Make it, or use "default" for a user that the engine makes.`);
}

/** All ranges of a name, one after the other from id 0 inside. */
function rangesOf(text: string, file: 'subuid' | 'subgid', name: string, number: string): IdRange[] {
  let inside = 0;
  const ranges = parseRanges(text)
    .filter(({ owner }) => owner === name || owner === number)
    .map(({ start, count }) => {
      const range = { inside, outside: start, count };
      inside += count;
      return range;
    });
  if (ranges.length > 0) return ranges;
  throw invalid(
    `no ${file} ranges found for ${file === 'subuid' ? 'user' : 'group'} "${name}"`,
    `Add a line to /etc/${file}, such as ${name}:${firstId}:${rangeSize}.`,
  );
}

function parseRanges(text: string): { owner: string; start: number; count: number }[] {
  return text.split('\n').flatMap((line) => {
    const [, owner = '', start, count] = /^([^:#\s]+):(\d{1,10}):(\d{1,10})\s*$/.exec(line.trim()) ?? [];
    return owner === '' ? [] : [{ owner, start: Number(start), count: Number(count) }];
  });
}

/** The first id after all that somebody has. */
export function freeRange(...files: readonly string[]): { first: number; last: number } {
  const ends = files.flatMap(parseRanges).map(({ start, count }) => start + count);
  const first = Math.max(firstId, ...ends);
  return { first, last: first + rangeSize - 1 };
}

function invalid(why: string, hint: string, cause?: unknown): EngineError {
  return new EngineError('InvalidArgument', 'USERNS_REMAP_INVALID', `userns-remap: ${why}`, { hint, cause });
}

const hostDatabase: UserDatabase = {
  async entry(database, key) {
    const { ok, stdout } = await runProgram(findProgram('getent') ?? 'getent', [database, key]);
    return ok ? stdout.split('\n')[0] : undefined;
  },
  ranges(file) {
    try {
      return readFileSync(`/etc/${file}`, 'utf8');
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return '';
      throw error;
    }
  },
  async addUser(name) {
    const make = [
      ['useradd', '--system', '--no-create-home', '--shell', '/usr/sbin/nologin', '--user-group', name],
      ...(['subuid', 'subgid'] as const).flatMap((file) => {
        const { first, last } = freeRange(this.ranges('subuid'), this.ranges('subgid'));
        return [['usermod', `--add-${file}s`, `${first}-${last}`, name]];
      }),
    ];
    for (const [program = '', ...args] of make) {
      const { ok, output } = await runProgram(findProgram(program) ?? program, args);
      if (!ok)
        throw invalid(
          `cannot make the user ${name}: ${program}: ${output}`,
          'Make a user with ranges in /etc/subuid and /etc/subgid, and name it.',
        );
    }
  },
};

/** What containers' ids are. `remap` is the daemon's; without one the configuration is all that is known. */
export function chooseUserNamespaces(setting: string | undefined, remap?: Remap | undefined): Choice {
  if (setting === undefined)
    return { name: "the host's", why: 'the configuration names no userns-remap: root in a container is root on the host' };
  if (Number(readText('/proc/sys/user/max_user_namespaces') || '1') === 0)
    return { name: undefined, why: 'userns-remap is set, and user.max_user_namespaces is 0' };
  const [range] = remap?.idMap.uids ?? [];
  const ids = range === undefined ? '' : `: ids from 0 inside are those from ${range.outside} on the host`;
  return { name: `of ${remap?.user ?? setting}`, why: `the configuration's userns-remap${ids}; --userns host leaves it` };
}
