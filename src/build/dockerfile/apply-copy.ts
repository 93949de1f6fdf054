import { posix } from 'node:path';
import type { CopySource, VertexId } from '../graph/vertex.ts';
import { parseModeChange } from '../steps/mode-change.ts';
import { contextVertex } from './apply-run.ts';
import { absolutePath, hasWildcard, sourcePath } from './paths.ts';
import { gitReference, isHttp, remoteVertex } from './remote.ts';
import { placeOf, type StageState } from './stage.ts';
import type { Surroundings } from './surroundings.ts';
import type { CopyInstruction, CopySourceWord } from './syntax.ts';

/** A copy with its variables replaced, and the inputs that it has so far. */
type Draft = {
  readonly instruction: CopyInstruction;
  readonly words: readonly CopySourceWord[];
  readonly checksum: string | undefined;
  readonly inputs: VertexId[];
  readonly sources: CopySource[];
};

export async function applyCopy(stage: StageState, instruction: CopyInstruction, around: Surroundings): Promise<void> {
  const { source } = around;
  const { kind, location } = instruction;
  const expandWord = (word: string) => stage.expand(around, location, word);
  const expandOptional = (word: string | undefined) => (word === undefined ? undefined : expandWord(word));
  const chown = expandOptional(instruction.chown);
  const chmod = expandOptional(instruction.chmod);
  const checksum = expandOptional(instruction.checksum);
  const words = instruction.sources.map((word) => ({ ...word, path: expandWord(word.path) }));
  const destination = expandWord(instruction.destination);
  const mode = chmod ? parseMode(chmod, instruction, around) : undefined;

  const draft: Draft = { instruction, words, checksum, inputs: [stage.vertex], sources: [] };
  refuseChecksum(draft, around);
  for (const word of words) await addSource(draft, word, around);
  if (instruction.heredocs.length > 0) {
    draft.inputs.push(inlineVertex(stage, instruction, around));
    for (const { name } of instruction.heredocs) {
      draft.sources.push({ input: draft.inputs.length - 1, path: `/${name}`, wildcard: false, unpack: false });
    }
  }
  stage.vertex = around.graph.add({
    name: stage.nextName(`${around.isTrigger ? 'ONBUILD ' : ''}${instruction.text}`),
    lineage: around.lineage(instruction.text),
    inputs: draft.inputs,
    operation: {
      kind: 'copy',
      sources: draft.sources,
      destination: absolutePath(stage.workingDir, destination),
      owner: chown || undefined,
      mode,
      excludes: instruction.excludes,
    },
    place: placeOf(source, { ...location, length: instruction.text.length }),
    noCache: around.noCache,
  });
  const flags = [instruction.parents ? '--parents' : '', chown ? `--chown=${chown}` : '', chmod ? `--chmod=${chmod}` : ''];
  const marks = instruction.heredocs.map((heredoc) => `<<${heredoc.name}`);
  const shown = [kind, ...flags.filter((flag) => flag !== ''), ...words.map((word) => word.path), ...marks, destination];
  stage.record(shown.join(' '), stage.vertex);
}

async function addSource(draft: Draft, word: CopySourceWord, around: Surroundings): Promise<void> {
  const { instruction, inputs, sources } = draft;
  if (isHttp(word.path) || gitReference(word.path, { source: around.source, location: word.location }) !== undefined) {
    addRemote(draft, word, around);
    return;
  }
  const [base, pattern] = instruction.parents ? splitPivot(word.path) : [word.path, undefined];
  const path = sourcePath(base);
  const wildcard = hasWildcard(path);
  const input = inputNumber(inputs, await sourceVertex(instruction, around));
  const place = placeOf(around.source, word.location);
  if (instruction.from === undefined) {
    around.useContext(
      pattern === undefined ? { path, wildcard } : { path: posix.join(path, pattern), wildcard: wildcard || hasWildcard(pattern) },
    );
    checkIgnored(instruction, word.path, around);
  }
  const unpack = instruction.kind === 'ADD' && instruction.unpack !== false;
  sources.push({ input, path, wildcard, unpack, place, ...(pattern === undefined ? {} : { parents: pattern }) });
}

/** The number of an input, which is added when it is new. Input 0 is what is copied into. */
function inputNumber(inputs: VertexId[], vertex: VertexId): number {
  const known = inputs.indexOf(vertex, 1);
  return known > 0 ? known : inputs.push(vertex) - 1;
}

/** `/a/./b`: what is before `/./` is left behind; without it, nothing is. */
function splitPivot(path: string): [base: string, pattern: string] {
  const pivot = path.indexOf('/./');
  const [base, rest] = pivot < 0 ? ['/', path] : [path.slice(0, pivot), path.slice(pivot + 3)];
  return [base === '' ? '/' : base, sourcePath(rest).slice(1)];
}

function checkIgnored({ kind, location }: CopyInstruction, path: string, around: Surroundings): void {
  const clean = sourcePath(path).slice(1);
  if (!around.isIgnored(clean)) return;
  const message = `Attempting to ${kind === 'ADD' ? 'Add' : 'Copy'} file "${clean === '' ? '.' : posix.normalize(path).replace(/(?<=.)\/$/, '')}" that is excluded by .dockerignore`;
  around.checks.report('CopyIgnoredFile', location, message);
}

function addRemote(draft: Draft, word: CopySourceWord, around: Surroundings): void {
  const { instruction, sources, checksum } = draft;
  const { source } = around;
  if (instruction.kind === 'COPY') {
    throw source.invalid('SOURCE_INVALID', word.location, `COPY cannot fetch ${word.path}`, 'ADD takes URLs and git repositories.');
  }
  const { vertex, path } = remoteVertex(around.graph, word.path, {
    source,
    location: word.location,
    checksum,
    keepGitDirectory: instruction.keepGitDir,
  });
  // What comes from the network stays packed unless asked for.
  const unpack = instruction.unpack === true && path !== '/';
  sources.push({ input: inputNumber(draft.inputs, vertex), path, wildcard: false, unpack, place: placeOf(source, word.location) });
}

function refuseChecksum({ checksum, words, instruction }: Draft, around: Surroundings): void {
  if (checksum === undefined || checksum === '') return;
  const { source } = around;
  const fail = (message: string) => source.invalid('CHECKSUM_INVALID', instruction.location, message);
  const [word] = words;
  if (words.length !== 1 || word === undefined) throw fail('--checksum goes with exactly one source');
  if (!isHttp(word.path) && gitReference(word.path, { source, location: word.location }) === undefined) {
    throw fail('--checksum goes with a URL or a git repository');
  }
}

async function sourceVertex(instruction: CopyInstruction, around: Surroundings): Promise<VertexId> {
  if (instruction.from === undefined) return contextVertex(around);
  const location = instruction.fromLocation ?? instruction.location;
  if (/\$./.test(instruction.from)) {
    throw around.source.invalid(
      'FROM_INVALID',
      location,
      '--from takes no variables',
      'Define a stage with FROM $VARIABLE AS name, its ARG before the first FROM, and copy from that.',
    );
  }
  return around.resolveFrom(instruction.from, location);
}

function inlineVertex(stage: StageState, instruction: CopyInstruction, around: Surroundings): VertexId {
  return around.graph.add({
    name: 'inline files',
    lineage: 'inline',
    operation: {
      kind: 'inline',
      files: instruction.heredocs.map((heredoc) => ({
        path: `/${heredoc.name}`,
        // The body is a file's text: quotes in it are its own.
        text: heredoc.expand ? stage.expand(around, instruction.location, heredoc.content, { ignoreQuotes: true }) : heredoc.content,
        mode: 0o644,
      })),
    },
  });
}

function parseMode(text: string, instruction: CopyInstruction, around: Surroundings): number | string {
  if (/^[0-7]{1,5}$/.test(text) && Number.parseInt(text, 8) <= 0o7777) return Number.parseInt(text, 8);
  if (parseModeChange(text) !== undefined) return text;
  throw around.source.invalid(
    'MODE_INVALID',
    instruction.location,
    `--chmod=${text} is not a mode`,
    'Write it in octal, from 0 to 7777, or as chmod(1) takes it, as in u=rwX,go=rX.',
  );
}
