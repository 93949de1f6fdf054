import type { ByteString } from '../../src/base/bytes.ts';
import { EntryType, type Meta, type TreeId } from '../../src/store/model.ts';
import type { TreeContext } from '../../src/store/port.ts';
import { type Directory, type Leaf, type LeafFields, MutableTree } from '../../src/transport/untar/mutable-tree.ts';

/** A tree as a test writes it: by path. Names that give one `inode` are hardlinks; a directory is there when something is in it, or by `dir`. */
export type Spec = Map<
  string,
  { kind: 'dir' | 'file' | 'symlink' | 'fifo' | 'device'; content: string; mode: number; time: number; inode?: string }
>;

export function putSpec(context: TreeContext, spec: Spec): TreeId {
  const tree = new MutableTree(context, undefined);
  const inodes = new Map<string, Leaf>();
  for (const [path, node] of [...spec].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const names = path.split('/') as ByteString[];
    const name = names.pop() as ByteString;
    let directory: Directory = tree.root;
    for (const part of names) {
      const child = tree.children(directory).get(part);
      directory = child?.kind === 'directory' ? child : tree.makeDirectory(directory, part, metaOf(0o755, 5), 1, true);
    }
    if (node.kind === 'dir') {
      tree.makeDirectory(directory, name, metaOf(node.mode, node.time), 1, true);
      continue;
    }
    const known = node.inode === undefined ? undefined : inodes.get(node.inode);
    const leaf: Leaf = known ?? { kind: 'leaf', fields: fieldsOf(context, node), generation: 1, shared: node.inode !== undefined };
    if (node.inode !== undefined) inodes.set(node.inode, leaf);
    tree.children(directory).set(name, leaf);
  }
  tree.root.meta = metaOf(0o755, spec.size % 3);
  return tree.finish().id;
}

function metaOf(mode: number, mtimeSec: number): Meta {
  return { mode, uid: mode % 3, gid: 0, mtimeSec, mtimeNsec: 0 };
}

function fieldsOf(context: TreeContext, { kind, content, mode, time }: Spec extends Map<string, infer N> ? N : never): LeafFields {
  const meta = metaOf(mode, time);
  if (kind === 'symlink') return { ...meta, type: EntryType.symlink, target: content as ByteString };
  if (kind === 'fifo') return { ...meta, type: EntryType.fifo };
  if (kind === 'device') return { ...meta, type: EntryType.charDevice, major: 1, minor: content.length };
  return { ...meta, type: EntryType.file, ...context.putBytes(Buffer.from(content)) };
}

/** The same numbers for the same seed. */
export function random(seed: number): (below: number) => number {
  let state = (seed + 1) * 2654435761;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const names = ['a', 'b', 'c', '-', 'z'.repeat(253)];

/** Few names and few contents, so that two trees have much in common. */
export function randomSpec(pick: (below: number) => number): Spec {
  const spec: Spec = new Map();
  for (let i = pick(14); i >= 0; i--) addRandom(spec, pick);
  return spec;
}

/** The same tree with a few changes. */
export function changeSpec(spec: Spec, pick: (below: number) => number): Spec {
  const changed: Spec = new Map(spec);
  for (let i = pick(5); i >= 0; i--) {
    const paths = [...changed.keys()];
    const path = paths[pick(paths.length)];
    if (path === undefined || pick(3) === 0) addRandom(changed, pick);
    else if (pick(2) === 0) removePath(changed, path);
    else relink(changed, path, pick);
  }
  return changed;
}

function addRandom(spec: Spec, pick: (below: number) => number): void {
  const depth = 1 + pick(3);
  const parts = Array.from({ length: depth }, () => names[pick(pick(4) === 0 ? names.length : 3)] as string);
  for (let end = 1; end < depth; end++) {
    const above = parts.slice(0, end).join('/');
    if (spec.get(above)?.kind !== 'dir') removePath(spec, above);
    if (!spec.has(above)) spec.set(above, { kind: 'dir', content: '', mode: 0o755, time: pick(2) });
  }
  const path = parts.join('/');
  removePath(spec, path);
  const kind = (['file', 'file', 'file', 'file', 'dir', 'symlink', 'fifo', 'device'] as const)[pick(8)] as 'file';
  const node = {
    kind,
    content: ['one', 'two', ''][pick(kind === 'file' ? 3 : 2)] as string,
    mode: [0o644, 0o755][pick(2)] as number,
    time: pick(2),
  };
  spec.set(path, node);
  if (kind === 'file' && pick(2) === 0) relink(spec, path, pick);
}

/** Makes a file one with others, or parts it from them. */
function relink(spec: Spec, path: string, pick: (below: number) => number): void {
  const node = spec.get(path);
  if (node === undefined || node.kind === 'dir') return;
  const inode = `i${pick(3)}`;
  const other = [...spec.values()].find((candidate) => candidate.inode === inode);
  const { inode: _own, ...alone } = node;
  if (pick(3) === 0) spec.set(path, alone);
  else spec.set(path, { ...(other ?? alone), inode });
}

function removePath(spec: Spec, path: string): void {
  for (const known of [...spec.keys()]) if (known === path || known.startsWith(`${path}/`)) spec.delete(known);
}
