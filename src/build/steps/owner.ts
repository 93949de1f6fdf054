import { toBytes } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { TreeId } from '../../store/model.ts';
import type { Trees } from '../../store/port.ts';

export type Owner = { uid: number; gid: number };

const userFileLimit = 10 * 1024 * 1024;
const maxId = 2 ** 32 - 2;

/**
 * Resolves `user[:group]` in a tree, names through its /etc/passwd and /etc/group (symlinks followed inside the tree). A numeric user without a group
 * has the group of the same number, a named one its own. Undefined when a name is not there.
 */
export async function resolveOwner(trees: Pick<Trees, 'lookup' | 'readFile'>, tree: TreeId, text: string): Promise<Owner | undefined> {
  const colon = text.indexOf(':');
  const user = colon < 0 ? text : text.slice(0, colon);
  const group = colon < 0 ? undefined : text.slice(colon + 1);
  const owner = numericId(user) ?? (await findUser(trees, tree, user));
  if (owner === undefined) return undefined;
  const base = typeof owner === 'number' ? { uid: owner, gid: owner } : owner;
  if (group === undefined || group === '') return base;
  const gid = numericId(group) ?? (await findGroup(trees, tree, group));
  return gid === undefined ? undefined : { uid: base.uid, gid };
}

function numericId(text: string): number | undefined {
  if (text === 'root') return 0;
  if (!/^\d{1,10}$/.test(text)) return undefined;
  if (Number(text) > maxId) throw new EngineError('InvalidArgument', 'OWNER_INVALID', `${text} is larger than any user or group number`);
  return Number(text);
}

async function findUser(trees: Pick<Trees, 'lookup' | 'readFile'>, tree: TreeId, name: string): Promise<Owner | undefined> {
  const line = await findLine(trees, tree, 'etc/passwd', name);
  const [uid, gid] = [Number(line?.[2]), Number(line?.[3])];
  return line !== undefined && Number.isSafeInteger(uid) && Number.isSafeInteger(gid) ? { uid, gid } : undefined;
}

async function findGroup(trees: Pick<Trees, 'lookup' | 'readFile'>, tree: TreeId, name: string): Promise<number | undefined> {
  const gid = Number((await findLine(trees, tree, 'etc/group', name))?.[2]);
  return Number.isSafeInteger(gid) ? gid : undefined;
}

async function findLine(
  trees: Pick<Trees, 'lookup' | 'readFile'>,
  tree: TreeId,
  path: string,
  name: string,
): Promise<string[] | undefined> {
  const entry = await trees.lookup(tree, toBytes(path), { follow: true });
  if (entry === undefined) return undefined;
  const text = (await trees.readFile(tree, toBytes(path), { limit: userFileLimit })).toString('utf8');
  return text
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[0] === name && name !== '');
}
