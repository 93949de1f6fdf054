import { EngineError } from '../../base/errors.ts';
import { createIgnore } from '../../oci/ignore.ts';

/**
 * Whether a path that COPY names is left out by .dockerignore, where that can be said without looking at files: not when a line begins with `!`, since
 * what is below may be brought back, and of the context's root only when a line leaves out all of it.
 */
export function certainlyIgnored(lines: readonly string[]): (path: string) => boolean {
  const patterns = lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
  if (patterns.length === 0 || patterns.some((line) => line.startsWith('!'))) return () => false;
  const all = patterns.some((pattern) => ['*', '**', '**/*'].includes(pattern.replace(/^\.?\//, '')));
  let matches: (path: string) => boolean;
  try {
    const ignore = createIgnore(lines);
    matches = (path) => ignore.ignores(path, false);
  } catch (error) {
    // Reading the context says what is wrong with the file.
    if (error instanceof EngineError) return () => false;
    throw error;
  }
  return (path) => (path === '' ? all : matches(path));
}
