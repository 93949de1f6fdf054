import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { EntryType, type Meta, type TreeId, type TreeRef } from '../model.ts';
import type { Edit, TreeContext } from '../port.ts';
import { isDirectory } from '../tree/entries.ts';
import { MutableTree, plainDirectory } from '../tree/mutable-tree.ts';
import { copyInto, Graft, Transform } from './graft.ts';

/** `store.edit`: applies edits in their order. */
export function editTree(context: TreeContext, { base, edits }: { base: TreeId; edits: readonly Edit[] }): TreeRef {
  const tree = new MutableTree(context, base);
  for (const edit of edits) applyEdit(context, tree, edit);
  return tree.finish();
}

/** One edit of port.ts. */
export function applyEdit(context: TreeContext, tree: MutableTree, edit: Edit): void {
  if (edit.op === 'mkdir') makeDirectory(tree, edit);
  else if (edit.op === 'copy') copyInto(context, tree, edit);
  else if (edit.op === 'remove') remove(tree, edit.path);
  else writeFile(context, tree, edit);
}

function makeDirectory(tree: MutableTree, { path, meta }: Extract<Edit, { op: 'mkdir' }>): void {
  const resolved = tree.resolveForWriting(path, { follow: true });
  if (resolved.directory !== undefined) return;
  if (resolved.exists || resolved.parent === undefined || resolved.name === undefined) {
    throw new EngineError('Conflict', 'NOT_A_DIRECTORY', `/${toText(path)} exists and is not a directory`, {
      hint: 'Remove that file first, or choose another path.',
    });
  }
  resolved.parent.makeChild(resolved.name, { ...plainDirectory, ...definedOf(meta) });
}

function remove(tree: MutableTree, path: ByteString): void {
  const resolved = tree.resolve(path, { follow: false });
  if (resolved === undefined || !resolved.exists) return;
  if (resolved.parent === undefined || resolved.name === undefined) {
    throw new EngineError('InvalidArgument', 'REMOVE_ROOT', 'the root directory of a tree cannot be removed');
  }
  resolved.parent.delete(resolved.name);
  tree.hardlinks.removeBelow(resolved.path);
}

function writeFile(context: TreeContext, tree: MutableTree, { path, data, meta }: Extract<Edit, { op: 'file' }>): void {
  const resolved = tree.resolveForWriting(path, { follow: false });
  const { parent, name } = resolved;
  if (parent === undefined || name === undefined || isDirectory(parent.get(name))) {
    throw new EngineError('Conflict', 'IS_A_DIRECTORY', `/${toText(path)} is a directory`, { hint: 'Choose another path for the file.' });
  }
  parent.set({ type: EntryType.file, name, ...plainDirectory, mode: 0o644, ...definedOf(meta), ...context.putBytes(data) });
  tree.hardlinks.remove(resolved.path);
}

function definedOf(meta: Partial<Meta> | undefined): Partial<Meta> {
  return Object.fromEntries(Object.entries(meta ?? {}).filter(([, value]) => value !== undefined));
}

/** `store.merge`: directories merge, their metadata and everything else come from `upper` where it has them. */
export function mergeTrees(context: TreeContext, { lower, upper }: { lower: TreeId; upper: TreeId }): TreeRef {
  const tree = new MutableTree(context, lower);
  const over = context.root(upper);
  const graft = new Graft(context, tree, { replaceAny: true, transform: new Transform(context) });
  graft.contents(tree.root, '' as ByteString, over.full, '' as ByteString);
  tree.hardlinks.graft(over.hardlinks, '' as ByteString, '' as ByteString);
  tree.meta = over;
  return tree.finish();
}
