import type { BuildLine, BuildResultLine } from '../../api-types/build.ts';

/** Shows a build as it goes. `close` is called once, whatever happens, and leaves the terminal as it was. */
export type Progress = {
  line(line: BuildLine): void;
  result(result: BuildResultLine): void;
  close(): void;
};

/** The end of a build in one line, the same in every way of showing it. */
export function summary(result: BuildResultLine, durationMs: number): string {
  const what = result.imageId === undefined ? `tree ${result.tree.slice(0, 12)}` : result.imageId;
  const names = result.tags.length === 0 ? '' : ` as ${result.tags.join(', ')}`;
  const vertices = `${result.vertices} ${result.vertices === 1 ? 'vertex' : 'vertices'}, ${result.cachedVertices} cached`;
  return `Built ${what}${names} in ${(durationMs / 1000).toFixed(2)}s: ${vertices}`;
}
