import type { ByteString } from '../../base/bytes.ts';
import { toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';

/** As many as Linux follows in one path (path_resolution(7)). */
const maxLinks = 40;

/** What is at a name: a directory to go on in, a link to follow, or neither. */
export type Found<D> = { directory?: D | undefined; link?: ByteString | undefined };

/** Asks the driver what `name` in `directory` is. `last`: no more names follow. */
export type Question<D> = { directory: D; name: ByteString; last: boolean };

/** `parent` and `name` are there unless the path is the root; `directory` when the path names a directory. */
export type Resolved<D> = { path: ByteString; parent?: D; name?: ByteString; directory?: D | undefined; exists: boolean };

/**
 * Resolves a path inside a tree as the kernel would inside a root: symlinks on the way are followed, absolute ones and `..` never leave
 * the root. A generator, so that the same rules serve a reader that waits for a database and one that does not: it yields questions and
 * is sent the answers. Undefined when a directory on the way is missing or none. InvalidArgument `LINK_LOOP` after 40 links.
 */
export function* resolvePath<D>(
  root: D,
  path: ByteString,
  options: { follow: boolean },
): Generator<Question<D>, Resolved<D> | undefined, Found<D> | undefined> {
  const rest = names(path).reverse();
  const entered: { name: ByteString; directory: D }[] = [];
  const here = () => entered.at(-1)?.directory ?? root;
  const pathOf = (name?: ByteString) =>
    [...entered.map((step) => step.name), ...(name === undefined ? [] : [name])].join('/') as ByteString;
  // A trailing slash asks for a directory, so a last link is followed.
  const follow = options.follow || path.endsWith('/');
  let links = 0;
  for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
    if (name === '..') {
      entered.pop();
      continue;
    }
    const last = rest.length === 0;
    const parent = here();
    const found = yield { directory: parent, name, last };
    if (found === undefined) return last ? { path: pathOf(name), parent, name, exists: false } : undefined;
    if (found.link !== undefined && (!last || follow)) {
      if (++links > maxLinks) throw linkLoop(path);
      if (found.link.startsWith('/')) entered.length = 0;
      rest.push(...names(found.link).reverse());
    } else if (last) {
      return { path: pathOf(name), parent, name, directory: found.directory, exists: true };
    } else if (found.directory === undefined) {
      return undefined;
    } else {
      entered.push({ name, directory: found.directory });
    }
  }
  const at = entered.at(-1);
  if (at === undefined) return { path: '' as ByteString, directory: root, exists: true };
  return { path: pathOf(), parent: entered.at(-2)?.directory ?? root, name: at.name, directory: at.directory, exists: true };
}

/** Runs a resolution whose answers are at hand. */
export function resolveNow<D>(
  steps: Generator<Question<D>, Resolved<D> | undefined, Found<D> | undefined>,
  answer: (question: Question<D>) => Found<D> | undefined,
): Resolved<D> | undefined {
  let step = steps.next();
  while (!step.done) step = steps.next(answer(step.value));
  return step.value;
}

/** Runs a resolution whose answers must be waited for. */
export async function resolveLater<D>(
  steps: Generator<Question<D>, Resolved<D> | undefined, Found<D> | undefined>,
  answer: (question: Question<D>) => Promise<Found<D> | undefined>,
): Promise<Resolved<D> | undefined> {
  let step = steps.next();
  while (!step.done) step = steps.next(await answer(step.value));
  return step.value;
}

function names(path: string): ByteString[] {
  return path.split('/').filter((name) => name !== '' && name !== '.') as ByteString[];
}

function linkLoop(path: ByteString): EngineError {
  return new EngineError('InvalidArgument', 'LINK_LOOP', `${toText(path)} goes through more than ${maxLinks} symbolic links`, {
    hint: 'Look for links that point at each other.',
  });
}
