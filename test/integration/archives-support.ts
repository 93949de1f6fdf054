import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ByteString, toText } from '../../src/base/bytes.ts';
import { CancelFlag } from '../../src/store/jobs/cancel-flag.ts';
import { JobContext } from '../../src/store/jobs/context.ts';
import type { NodeSource } from '../../src/store/jobs/node-source.ts';
import { type Entry, EntryType, type TreeId } from '../../src/store/model.ts';
import { createLayout, storePaths } from '../../src/store/paths.ts';
import type { TreeContext } from '../../src/store/port.ts';

/** A folder of the test's own and a job's view of an empty store in it; nothing is committed. */
export function jobContext(): { folder: string; context: TreeContext; cancel: CancelFlag; [Symbol.dispose](): void } {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-archives-'));
  const paths = storePaths(join(folder, 'root'));
  createLayout(paths);
  const cancel = new CancelFlag();
  const source = { root: () => undefined, node: () => undefined, totals: () => undefined } as unknown as NodeSource;
  const context = new JobContext({ paths, tmpDir: join(paths.tmp, 'job'), source, cancel, report: () => {} });
  return { folder, context, cancel, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A tree as lines, `type path mode uid:gid [detail]`, sorted by path. */
export function describeTree(context: TreeContext, tree: TreeId): string[] {
  const root = context.root(tree);
  const lines: string[] = [];
  const visit = (entries: readonly Entry[], path: string) => {
    for (const entry of entries) {
      const at = `${path}${toText(entry.name)}`;
      lines.push(`${letter(entry)} ${at} ${entry.mode.toString(8)} ${entry.uid}:${entry.gid}${detail(entry)}`);
      if (entry.type === EntryType.directory) visit(context.node(entry.full), `${at}/`);
    }
  };
  visit(context.node(root.full), '');
  for (const group of root.hardlinks) lines.push(`= ${group.map((path) => toText(path)).join(' ')}`);
  return lines;
}

export function entryAt(context: TreeContext, tree: TreeId, path: string): Entry | undefined {
  let entries = context.node(context.root(tree).full);
  let found: Entry | undefined;
  for (const name of path.split('/')) {
    found = entries.find((entry) => entry.name === (name as ByteString));
    if (found === undefined) return undefined;
    if (found.type === EntryType.directory) entries = context.node(found.full);
  }
  return found;
}

function letter(entry: Entry): string {
  return {
    [EntryType.file]: 'f',
    [EntryType.directory]: 'd',
    [EntryType.symlink]: 'l',
    [EntryType.charDevice]: 'c',
    [EntryType.blockDevice]: 'b',
    [EntryType.fifo]: 'p',
  }[entry.type];
}

function detail(entry: Entry): string {
  if (entry.type === EntryType.file) return ` ${entry.size}`;
  if (entry.type === EntryType.symlink) return ` -> ${toText(entry.target)}`;
  if (entry.type === EntryType.charDevice || entry.type === EntryType.blockDevice) return ` ${entry.major}:${entry.minor}`;
  return '';
}
