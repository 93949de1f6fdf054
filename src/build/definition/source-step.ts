import type { DefinitionStep } from '../../api-types/definition.ts';
import { parseGitReference } from '../dockerfile/git-reference.ts';
import { filenameOf } from '../dockerfile/remote.ts';
import type { Operation } from '../graph/vertex.ts';

/** `http` and `git`, which the parser has looked at. */
export function sourceOperation(step: Extract<DefinitionStep, { kind: 'http' | 'git' }>): Operation {
  if (step.kind === 'http') {
    const { url, checksum, filename = filenameOf(url), unpack = false } = step;
    return { kind: 'http', url, filename, checksum, ...(unpack ? { unpack } : {}) };
  }
  const reference = parseGitReference(step.url);
  const { remote = step.url, ref, subdirectory, keepGitDirectory = false, submodules = true, checksum } = reference ?? {};
  return {
    kind: 'git',
    remote,
    ref,
    subdirectory,
    keepGitDirectory: step.keepGitDirectory ?? keepGitDirectory,
    submodules,
    checksum: step.checksum ?? checksum,
  };
}
