import type { CopySource, VertexId } from '../graph/vertex.ts';
import { contextVertex } from './apply-run.ts';
import { absolutePath, hasWildcard, isRemote, sourcePath } from './paths.ts';
import { expandAt, placeOf, type StageState } from './stage.ts';
import type { Surroundings } from './surroundings.ts';
import type { CopyInstruction } from './syntax.ts';

export async function applyCopy(stage: StageState, instruction: CopyInstruction, around: Surroundings): Promise<void> {
  const { source } = around;
  const { kind, location } = instruction;
  refuseUnsupported(instruction, around);
  const expandWord = (word: string) => stage.expand(source, location, word, around.escape);
  const chown = instruction.chown === undefined ? undefined : expandWord(instruction.chown);
  const chmod = instruction.chmod === undefined ? undefined : expandWord(instruction.chmod);
  const words = instruction.sources.map((word) => ({ ...word, path: expandWord(word.path) }));
  const destination = expandWord(instruction.destination);
  const mode = chmod ? parseMode(chmod, instruction, around) : undefined;

  const inputs: VertexId[] = [stage.vertex];
  const sources: CopySource[] = [];
  if (words.length > 0) inputs.push(await sourceVertex(instruction, around));
  for (const word of words) {
    refuseRemote(word.path, instruction, around);
    const path = sourcePath(word.path);
    const wildcard = hasWildcard(path);
    if (instruction.from === undefined) around.useContext({ path, wildcard });
    sources.push({
      input: 1,
      path,
      wildcard,
      unpack: kind === 'ADD' && instruction.unpack !== false,
      place: placeOf(source, word.location),
    });
  }
  if (instruction.heredocs.length > 0) {
    inputs.push(inlineVertex(stage, instruction, around));
    for (const heredoc of instruction.heredocs) {
      sources.push({ input: inputs.length - 1, path: `/${heredoc.name}`, wildcard: false, unpack: false });
    }
  }
  stage.vertex = around.graph.add({
    name: stage.nextName(instruction.text),
    lineage: around.lineage(instruction.text),
    inputs,
    operation: {
      kind: 'copy',
      sources,
      destination: absolutePath(stage.workingDir, destination),
      owner: chown || undefined,
      mode,
      excludes: instruction.excludes,
    },
    place: placeOf(source, { ...location, length: instruction.text.length }),
    noCache: around.noCache,
  });
  const flags = [chown ? `--chown=${chown}` : '', chmod ? `--chmod=${chmod}` : ''].filter((flag) => flag !== '');
  const marks = instruction.heredocs.map((heredoc) => `<<${heredoc.name}`);
  stage.record([kind, ...flags, ...words.map((word) => word.path), ...marks, destination].join(' '), stage.vertex);
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
        text: heredoc.expand
          ? expandAt(around.source, instruction.location, heredoc.content, stage.variables, { ignoreQuotes: true }).text
          : heredoc.content,
        mode: 0o644,
      })),
    },
  });
}

function parseMode(text: string, instruction: CopyInstruction, around: Surroundings): number {
  if (/^[0-7]{1,5}$/.test(text) && Number.parseInt(text, 8) <= 0o7777) return Number.parseInt(text, 8);
  if (/^[ugoa]*[-+=]/.test(text)) {
    throw around.source.unsupported(
      instruction.location,
      `--chmod=${text}: symbolic modes are not supported yet`,
      'Write it in octal, as in --chmod=0755.',
    );
  }
  throw around.source.invalid('MODE_INVALID', instruction.location, `--chmod=${text} is not a mode`, 'Write it in octal, from 0 to 7777.');
}

function refuseUnsupported(instruction: CopyInstruction, around: Surroundings): void {
  const { source } = around;
  const { kind, location } = instruction;
  if (instruction.parents) throw source.unsupported(location, `${kind} --parents is not supported yet`);
  if (instruction.checksum !== undefined) throw source.unsupported(location, 'ADD --checksum is for URLs, which are not supported yet');
}

function refuseRemote(path: string, instruction: CopyInstruction, around: Surroundings): void {
  if (!isRemote(path)) return;
  const { source } = around;
  if (instruction.kind === 'COPY')
    throw source.invalid('SOURCE_INVALID', instruction.location, `COPY cannot fetch ${path}`, 'ADD takes URLs.');
  throw source.unsupported(instruction.location, `ADD ${path}: fetching is not supported yet`, 'Fetch it in a RUN step.');
}
