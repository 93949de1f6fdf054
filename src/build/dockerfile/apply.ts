import { applyCopy } from './apply-copy.ts';
import { applyRun, shellOf } from './apply-run.ts';
import { healthcheckText, plainList, quotedList } from './go-format.ts';
import { absolutePath } from './paths.ts';
import { isSignal, PortError, parseExposedPort } from './ports.ts';
import { placeOf, type StageState } from './stage.ts';
import type { Surroundings } from './surroundings.ts';
import type {
  ArgInstruction,
  CommandLine,
  EnvInstruction,
  ExposeInstruction,
  Instruction,
  LabelInstruction,
  WordInstruction,
} from './syntax.ts';

/** Applies one instruction to a stage: its config, its variables, and a vertex when it changes files. */
export async function applyInstruction(stage: StageState, instruction: Instruction, around: Surroundings): Promise<void> {
  switch (instruction.kind) {
    case 'COPY':
    case 'ADD':
      return applyCopy(stage, instruction, around);
    case 'RUN':
      return applyRun(stage, instruction, around);
    case 'ENV':
      applyEnv(stage, instruction, around);
      return;
    case 'LABEL':
      applyLabel(stage, instruction, around);
      return;
    case 'ARG':
      applyArg(stage, instruction, around);
      return;
    case 'EXPOSE':
      applyExpose(stage, instruction, around);
      return;
    case 'WORKDIR':
    case 'USER':
    case 'STOPSIGNAL':
    case 'MAINTAINER':
      applyWord(stage, instruction, around);
      return;
    case 'CMD':
      applyCmd(stage, instruction);
      return;
    case 'ENTRYPOINT':
      applyEntrypoint(stage, instruction);
      return;
    case 'SHELL':
      stage.run.Shell = [...instruction.shell];
      stage.record(`SHELL ${plainList(instruction.shell)}`);
      return;
    case 'HEALTHCHECK':
      stage.run.Healthcheck = instruction.healthcheck;
      stage.record(`HEALTHCHECK ${healthcheckText(instruction.healthcheck)}`);
      return;
    case 'VOLUME': {
      const volumes = instruction.volumes.map((volume) => stage.expand(around.source, instruction.location, volume, around.escape));
      if (volumes.includes('')) throw around.source.invalid('ARGUMENT_INVALID', instruction.location, 'VOLUME names no path');
      stage.run.Volumes = { ...stage.run.Volumes, ...Object.fromEntries(volumes.map((volume) => [volume, {}])) };
      stage.record(`VOLUME ${plainList(volumes)}`);
      return;
    }
    case 'ONBUILD':
      // Kept as written, and not in the history: it takes effect in the child.
      stage.triggers.push(instruction.trigger);
  }
}

function pairsOf(stage: StageState, instruction: EnvInstruction | LabelInstruction, around: Surroundings): [string, string][] {
  // All values of one instruction see the variables as they were before it.
  const expandWord = (word: string) => stage.expand(around.source, instruction.location, word, around.escape);
  return instruction.pairs.map((pair) => {
    const key = expandWord(pair.key);
    if (key === '') throw around.source.invalid('ARGUMENT_INVALID', instruction.location, `the name in ${instruction.kind} is empty`);
    return [key, expandWord(pair.value)];
  });
}

function applyEnv(stage: StageState, instruction: EnvInstruction, around: Surroundings): void {
  const pairs = pairsOf(stage, instruction, around);
  for (const [key, value] of pairs) stage.setEnv(key, value);
  stage.record(`ENV ${pairs.map((pair) => pair.join('=')).join(' ')}`);
}

function applyLabel(stage: StageState, instruction: LabelInstruction, around: Surroundings): void {
  const pairs = pairsOf(stage, instruction, around);
  stage.run.Labels = { ...stage.run.Labels, ...Object.fromEntries(pairs) };
  stage.record(`LABEL ${pairs.map((pair) => pair.join('=')).join(' ')}`);
}

function applyArg(stage: StageState, instruction: ArgInstruction, around: Surroundings): void {
  const texts: string[] = [];
  for (const { key, value: fallback } of instruction.args) {
    around.useArg(key);
    const given = Object.hasOwn(around.buildArgs, key) ? around.buildArgs[key] : undefined;
    let value = given ?? (fallback === undefined ? around.globals.get(key) : undefined);
    if (value === undefined && fallback !== undefined) value = stage.expand(around.source, instruction.location, fallback, around.escape);
    if (value !== undefined) stage.variables.set(key, value);
    stage.buildArgs.push({ key, value });
    texts.push(value === undefined ? key : `${key}=${value}`);
  }
  stage.record(`ARG ${texts.join(' ')}`);
}

function applyExpose(stage: StageState, instruction: ExposeInstruction, around: Surroundings): void {
  const words = instruction.ports.flatMap((port) => stage.expandWords(around.source, instruction.location, port, around.escape));
  let ports: string[];
  try {
    ports = words.flatMap(parseExposedPort);
  } catch (error) {
    if (!(error instanceof PortError)) throw error;
    throw around.source.invalid('PORT_INVALID', instruction.location, error.message, 'Write EXPOSE 8080 or EXPOSE 53/udp.');
  }
  stage.run.ExposedPorts = { ...stage.run.ExposedPorts, ...Object.fromEntries(ports.map((port) => [port, {}])) };
  stage.record(`EXPOSE ${plainList(ports)}`);
}

function applyWord(stage: StageState, instruction: WordInstruction, around: Surroundings): void {
  const { kind, location } = instruction;
  const value = kind === 'MAINTAINER' ? instruction.value : stage.expand(around.source, location, instruction.value, around.escape);
  switch (kind) {
    case 'MAINTAINER':
      stage.config.author = value;
      stage.record(`MAINTAINER ${value}`);
      return;
    case 'USER':
      if (value === '') throw around.source.invalid('ARGUMENT_INVALID', location, 'USER names nobody');
      stage.run.User = value;
      stage.record(`USER ${value}`);
      return;
    case 'STOPSIGNAL':
      if (!isSignal(value))
        throw around.source.invalid(
          'SIGNAL_INVALID',
          location,
          `${JSON.stringify(value)} is not a signal`,
          'Write a name like SIGTERM or a number.',
        );
      stage.run.StopSignal = value;
      stage.record(`STOPSIGNAL ${value}`);
      return;
    case 'WORKDIR':
      applyWorkdir(stage, instruction, value, around);
      return;
  }
}

function applyWorkdir(stage: StageState, instruction: WordInstruction, value: string, around: Surroundings): void {
  const path = absolutePath(stage.workingDir, value).replace(/(?<=.)\/\.?$/, '');
  stage.run.WorkingDir = path;
  // The step is named even for the root, which needs no directory made.
  const name = stage.nextName(`WORKDIR ${path}`);
  if (path === '/') {
    stage.record(`WORKDIR ${path}`);
    return;
  }
  stage.vertex = around.graph.add({
    name,
    lineage: around.lineage(instruction.text),
    inputs: [stage.vertex],
    operation: { kind: 'mkdir', path, mode: 0o755, owner: stage.run.User || undefined },
    place: placeOf(around.source, instruction.location),
    noCache: around.noCache,
  });
  stage.record(`WORKDIR ${path}`, stage.vertex, false);
}

function commandArgs(stage: StageState, command: CommandLine): string[] {
  return command.shell ? [...shellOf(stage), command.args.join(' ')] : [...command.args];
}

function applyCmd(stage: StageState, command: CommandLine): void {
  const args = commandArgs(stage, command);
  stage.run.Cmd = args;
  // BuildKit sets it for every CMD, in exec form too.
  stage.run.ArgsEscaped = true;
  stage.hasCommand = true;
  stage.record(`CMD ${quotedList(args)}`);
}

function applyEntrypoint(stage: StageState, command: CommandLine): void {
  const args = command.args.length === 0 ? undefined : commandArgs(stage, command);
  if (args === undefined) delete stage.run.Entrypoint;
  else stage.run.Entrypoint = args;
  // An inherited CMD was meant for the inherited entry point.
  if (!stage.hasCommand) delete stage.run.Cmd;
  stage.record(`ENTRYPOINT ${quotedList(args ?? [])}`);
}
