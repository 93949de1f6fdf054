import { toBytes } from '../../base/bytes.ts';

/**
 * Paths that the engine mounted over, as a tree of names. An empty file or folder there in the upper layer is not the container's work; anything else is
 * what somebody has put in its place.
 */
export type StubNode = { isStub: boolean; readonly children: Map<string, StubNode> };

/** Text paths, with or without a leading slash. */
export function stubTree(paths: readonly string[]): StubNode {
  const root: StubNode = { isStub: false, children: new Map() };
  for (const path of paths) {
    let node = root;
    for (const name of toBytes(path).split('/')) {
      if (name === '' || name === '.') continue;
      let child = node.children.get(name);
      if (child === undefined) {
        child = { isStub: false, children: new Map() };
        node.children.set(name, child);
      }
      node = child;
    }
    if (node !== root) node.isStub = true;
  }
  return root;
}
