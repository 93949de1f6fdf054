import type { Checks } from './checks.ts';
import type { Common, Dockerfile, FromInstruction } from './syntax.ts';

const reservedNames = ['scratch', 'context'];

/** The checks that need the text alone: all stages, used or not. */
export function checkSyntax(file: Dockerfile, checks: Checks): void {
  for (const location of file.emptyContinuations) checks.report('NoEmptyContinuation', location, 'Empty continuation line');
  for (const instruction of file.globalArgs) checkDescription('ARG', keysOf(instruction), instruction, checks);
  for (const { from, instructions } of file.stages) {
    checkFrom(from, checks);
    for (const instruction of instructions) {
      const own = checks.forInstruction(instruction.comments);
      if (instruction.kind === 'MAINTAINER') {
        own.report('MaintainerDeprecated', instruction.location, 'Maintainer instruction is deprecated in favor of using label');
      }
      if (instruction.kind === 'ARG') checkDescription('ARG', keysOf(instruction), instruction, checks);
    }
  }
  checkStageNames(file, checks);
  checkCasing(file, checks);
}

function keysOf({ args }: { args: readonly { key: string }[] }): string[] {
  return args.map(({ key }) => key);
}

function checkFrom(from: FromInstruction, checks: Checks): void {
  const { written, keyword, location } = from;
  if (written === undefined) return;
  const own = checks.forInstruction(from.comments);
  const { as, name } = written;
  if (name !== name.toLowerCase()) own.report('StageNameCasing', location, `Stage name '${name}' should be lowercase`);
  // A FROM of mixed letters is told of by the check for casing.
  const expected = keyword === keyword.toLowerCase() ? as.toLowerCase() : keyword === keyword.toUpperCase() ? as.toUpperCase() : as;
  if (as !== expected) own.report('FromAsCasing', location, `'${as}' and '${keyword}' keywords' casing do not match`);
  checkDescription('FROM', [name.toLowerCase()], from, checks);
}

/** The comment right before FROM or ARG describes it, and begins with its name. */
function checkDescription(kind: 'FROM' | 'ARG', names: readonly string[], instruction: Common, checks: Checks): void {
  const word = instruction.comments.at(-1)?.split(' ')[0];
  const [first = ''] = names;
  if (word === undefined || names.length === 0 || names.includes(word)) return;
  const example = names.length > 1 ? '<arg_key>' : first;
  const message = `Comment for ${kind} should follow the format: \`# ${example} <description>\``;
  checks.forInstruction(instruction.comments).report('InvalidDefinitionDescription', instruction.location, message);
}

function checkStageNames(file: Dockerfile, checks: Checks): void {
  const seen = new Set<string>();
  for (const { from } of file.stages) {
    if (from.name === undefined) continue;
    const own = checks.forInstruction(from.comments);
    if (reservedNames.includes(from.name)) {
      own.report('ReservedStageName', from.location, `Stage name should not use the same name as reserved stage "${from.name}"`);
    }
    if (seen.has(from.name)) {
      own.report('DuplicateStageName', from.location, `Duplicate stage name "${from.name}", stage names should be unique`);
    }
    seen.add(from.name);
  }
}

/** All keywords as most are; upper case when there are as many of each. */
function checkCasing(file: Dockerfile, checks: Checks): void {
  const all: Common[] = file.stages.flatMap((stage) => [stage.from, ...stage.instructions]);
  const lower = all.filter(({ keyword }) => keyword === keyword.toLowerCase()).length;
  const upper = all.filter(({ keyword }) => keyword === keyword.toUpperCase()).length;
  const [name, convert] =
    lower > upper
      ? (['lowercase', (text: string) => text.toLowerCase()] as const)
      : (['uppercase', (text: string) => text.toUpperCase()] as const);
  for (const { keyword, location, comments } of all) {
    if (keyword === convert(keyword)) continue;
    const message = `Command '${keyword}' should match the case of the command majority (${name})`;
    checks.forInstruction(comments).report('ConsistentInstructionCasing', location, message);
  }
}
