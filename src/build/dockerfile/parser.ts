import { suggestion } from '../../base/nearest.ts';
import { parseFrom, parseInstruction } from './instructions.ts';
import { lex } from './lexer.ts';
import type { ArgInstruction, Dockerfile, FromInstruction, Instruction, InstructionName, Line } from './syntax.ts';
import { instructionNames } from './syntax.ts';

/**
 * Parses a Dockerfile into stages of typed instructions. `name` is what errors call the file; `onFault` gets what stands before the instruction that is wrong.
 * Throws EngineError InvalidArgument with file, line, column and an excerpt; never anything else, whatever the bytes.
 */
export function parseDockerfile(text: string, name = 'Dockerfile', onFault?: (before: Dockerfile) => void): Dockerfile {
  const lexed = lex(text, name);
  const { source, escape: escapeCharacter, directives, emptyContinuations } = lexed;
  const globalArgs: ArgInstruction[] = [];
  const stages: { from: FromInstruction; instructions: Instruction[] }[] = [];
  const file: Dockerfile = { source, escape: escapeCharacter, directives, globalArgs, stages, emptyContinuations };
  try {
    for (const line of lexed.lines) addLine(line, globalArgs, stages);
  } catch (error) {
    onFault?.(file);
    throw error;
  }
  if (stages.length === 0) {
    const start = { line: 1, column: 1, endLine: 1 };
    throw source.invalid('DOCKERFILE_EMPTY', start, 'the file has no FROM instruction', 'A Dockerfile begins with FROM IMAGE.');
  }
  return file;
}

function addLine(line: Line, globalArgs: ArgInstruction[], stages: { from: FromInstruction; instructions: Instruction[] }[]): void {
  const keyword = instructionName(line);
  if (keyword === 'FROM') {
    stages.push({ from: parseFrom(line), instructions: [] });
    return;
  }
  const instruction = parseInstruction(keyword, line);
  const stage = stages.at(-1);
  if (stage !== undefined) stage.instructions.push(instruction);
  else if (instruction.kind === 'ARG') globalArgs.push(instruction);
  else {
    throw line.source.invalid(
      'FROM_MISSING',
      line.location,
      `${keyword} stands before the first FROM`,
      'A Dockerfile begins with FROM; only ARG may stand before it.',
    );
  }
}

/** A trigger that an image's ONBUILD recorded: one instruction. Places in errors are those of the trigger's own text. */
export function parseTrigger(text: string, name: string): Instruction {
  const lexed = lex(text, name);
  const [line] = lexed.lines;
  if (line === undefined || lexed.lines.length !== 1) {
    throw lexed.source.invalid('ONBUILD_INVALID', { line: 1, column: 1, endLine: 1 }, 'an ONBUILD trigger is exactly one instruction');
  }
  const keyword = instructionName(line);
  if (keyword === 'FROM') throw lexed.source.invalid('ONBUILD_INVALID', line.location, 'FROM cannot be an ONBUILD trigger');
  return parseInstruction(keyword, line);
}

function instructionName(line: Line): InstructionName {
  const upper = line.keyword.toUpperCase();
  const name = instructionNames.find((candidate) => candidate === upper);
  if (name !== undefined) return name;
  const shown = line.keyword.length > 60 ? `${line.keyword.slice(0, 60)}…` : line.keyword;
  throw line.source.invalid(
    'INSTRUCTION_UNKNOWN',
    line.location,
    `unknown instruction ${shown}`,
    suggestion(line.keyword, instructionNames),
  );
}
