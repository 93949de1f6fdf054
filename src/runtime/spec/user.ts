import { EngineError } from '../../base/errors.ts';
import type { InRoot } from './in-root.ts';

export type ResolvedUser = { uid: number; gid: number; additionalGids: number[]; home: string };

type PasswdEntry = { name: string; uid: number; gid: number; home: string };
type GroupEntry = { name: string; gid: number; members: string[] };

const fileLimitBytes = 4 << 20;

/**
 * Finds who `user` (`name|uid[:group|gid]`, empty for root) is inside the root, by its own /etc/passwd and /etc/group, as Docker does: a number needs no
 * entry; a named or listed user has the groups that list it, unless a group is given. InvalidArgument `USER_NOT_FOUND`, `GROUP_NOT_FOUND`.
 */
export function resolveUser(root: InRoot, user: string, groupAdd: readonly string[] = []): ResolvedUser {
  const [name = '', group] = splitOnce(user, ':');
  const passwd = parsePasswd(root.read('/etc/passwd', fileLimitBytes) ?? '');
  const groups = parseGroup(root.read('/etc/group', fileLimitBytes) ?? '');
  const entry = name === '' ? passwd.find(({ uid }) => uid === 0) : findUser(passwd, name);
  const uid = entry?.uid ?? (name === '' ? 0 : parseId(name));
  if (uid === undefined) throw notFound('USER_NOT_FOUND', `unable to find user ${name}: no matching entries in passwd file`);

  const explicit = group === undefined || group === '' ? undefined : requireGroup(groups, group);
  const listed = explicit === undefined && entry ? groups.filter(({ members }) => members.includes(entry.name)).map(({ gid }) => gid) : [];
  const added = groupAdd.map((each) => requireGroup(groups, each));
  const gid = explicit ?? entry?.gid ?? 0;
  const additionalGids = [...new Set([...listed, ...added])];
  return { uid, gid, additionalGids, home: entry?.home || '/' };
}

/** A name wins over a number; `0123` is no name's number. */
function findUser(passwd: PasswdEntry[], name: string): PasswdEntry | undefined {
  return passwd.find((entry) => entry.name === name) ?? passwd.find((entry) => String(entry.uid) === name);
}

function requireGroup(groups: GroupEntry[], group: string): number {
  const gid = groups.find(({ name }) => name === group)?.gid ?? parseId(group);
  if (gid === undefined) throw notFound('GROUP_NOT_FOUND', `unable to find group ${group}: no matching entries in group file`);
  return gid;
}

function parseId(text: string): number | undefined {
  if (!/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= 0x7fff_ffff ? id : undefined;
}

function notFound(code: string, message: string): EngineError {
  return new EngineError('InvalidArgument', code, message, {
    hint: 'Give a number (1000:1000), or add the entry to the image with useradd or groupadd.',
  });
}

export function parsePasswd(text: string): PasswdEntry[] {
  return rows(text).flatMap(([name = '', , uid = '', gid = '', , home = '']) => {
    const ids = { uid: parseId(uid), gid: parseId(gid) };
    return name === '' || ids.uid === undefined ? [] : [{ name, uid: ids.uid, gid: ids.gid ?? 0, home }];
  });
}

export function parseGroup(text: string): GroupEntry[] {
  return rows(text).flatMap(([name = '', , gid = '', members = '']) => {
    const id = parseId(gid);
    return name === '' || id === undefined ? [] : [{ name, gid: id, members: members.split(',').filter((member) => member !== '') }];
  });
}

function rows(text: string): string[][] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'));
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}
