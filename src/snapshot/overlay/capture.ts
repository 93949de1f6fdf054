import type { ByteString } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import { EntryType, type TreeId, type TreeRef } from '../../store/model.ts';
import type { Change, TreeContext } from '../../store/port.ts';
import { BaseTree, joinPath } from './base-tree.ts';
import { CopiedUpLinks, type IndexLocation } from './copied-up-links.ts';
import { stubTree } from './stubs.ts';
import { type UpperSink, UpperWalk } from './upper-walk.ts';

export type CaptureParams = {
  readonly tree: TreeId;
  /** The upper layer's directory. */
  readonly upper: string;
  /** Present when the overlay is mounted with `index=on`. */
  readonly index?: IndexLocation | undefined;
  /** Text paths that the engine mounted over. */
  readonly stubs: readonly string[];
};

/** The base tree with the upper layer's changes. Equal to the base, its id too, when there are none. */
export function captureUpper(context: TreeContext, params: CaptureParams): TreeRef {
  const sink: UpperSink = {
    content: (fd) => context.putFile(fd),
    node: (entries) => context.putNode(entries),
    added: () => {},
    modified: () => {},
    deleted: () => {},
    moved: () => {},
  };
  return context.putRoot(walk(context, params, sink));
}

/**
 * What the upper layer changes, sorted by path; a directory that is deleted stands for all below it. Reads no content, so a change has no
 * `after`: a file that was written counts as modified even when it holds the same bytes.
 */
export function listChanges(context: TreeContext, params: CaptureParams): Change[] {
  const changes: Change[] = [];
  const unknown = '0'.repeat(64) as Hex;
  const sink: UpperSink = {
    content: () => ({ object: unknown, size: 0 }),
    node: () => ({ full: unknown, content: unknown }),
    added: (path) => changes.push({ kind: 'added', path }),
    modified: (path, before) => changes.push({ kind: 'modified', path, before }),
    deleted: (path, before) => changes.push({ kind: 'deleted', path, before }),
    moved: (path, entry) => {
      changes.push({ kind: 'added', path });
      if (entry.type !== EntryType.directory) return;
      for (const child of context.node(entry.full)) sink.moved(joinPath(path, child.name), child);
    },
  };
  walk(context, params, sink);
  return changes.sort((a, b) => comparePaths(a.path, b.path));
}

function walk(context: TreeContext, params: CaptureParams, sink: UpperSink) {
  const base = new BaseTree(context, context.root(params.tree));
  using copiedUp = new CopiedUpLinks(base, params.index);
  return new UpperWalk(context, base, copiedUp, sink).run(params.upper, stubTree(params.stubs));
}

function comparePaths(a: ByteString, b: ByteString): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
