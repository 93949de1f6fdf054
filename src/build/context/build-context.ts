import type { TreeRef } from '../../store/model.ts';

/** The files that a build may copy from, and its definition file. One for each build. */
export interface ContextSource {
  /** A file's text, or undefined when it is not there; also of files that .dockerignore leaves out. */
  readText(path: string): Promise<string | undefined>;
  /** Names in the directory of a path, for suggestions. */
  siblings(path: string): Promise<readonly string[]>;
  /** The tree, at least with what `paths` name; owners are 0:0. Called once. */
  tree(paths: readonly ContextPath[], options: { ignore: readonly string[]; signal: AbortSignal }): Promise<ContextTree>;
  /** Whether a path is there although the tree may lack it. */
  exists(path: string): boolean;
}

export type ContextPath = { readonly path: string; readonly wildcard: boolean };
export type ContextTree = {
  readonly tree: TreeRef;
  readonly files?: number | undefined;
  readonly bytes?: number | undefined;
  readonly hashedFiles?: number | undefined;
};

/** A definition or an ignore file is text for people; more than this is a mistake. */
export const textLimit = 4 * 1024 * 1024;
