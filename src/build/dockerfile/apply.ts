import { applyCopy } from './apply-copy.ts';
import { applyRun, shellOf } from './apply-run.ts';
import { healthcheckText, plainList, quotedList } from './go-format.ts';
import { absolutePath } from './paths.ts';
import { type ExposedPort, isSignal, PortError, parseExposedPort } from './ports.ts';
import { placeOf, type StageState } from './stage.ts';
import type { Surroundings } from './surroundings.ts';
import type {
  ArgInstruction,
  CmdInstruction,
  CommandLine,
  EntrypointInstruction,
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
      applyCmd(stage, instruction, around);
      return;
    case 'ENTRYPOINT':
      applyEntrypoint(stage, instruction, around);
      return;
    case 'SHELL':
      stage.run.Shell = [...instruction.shell];
      stage.record(`SHELL ${plainList(instruction.shell)}`);
      return;
    case 'HEALTHCHECK':
      checkSingle(stage, instruction, around);
      stage.run.Healthcheck = instruction.healthcheck;
      stage.record(`HEALTHCHECK ${healthcheckText(instruction.healthcheck)}`);
      return;
    case 'VOLUME': {
      const volumes = instruction.volumes.map((volume) => stage.expand(around, instruction.location, volume));
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

/** Arguments for the builder alone. */
const notInEnvironment = new Set(['BUILDKIT_SBOM_SCAN_CONTEXT', 'BUILDKIT_SBOM_SCAN_STAGE']);
const secretName = /(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)/i;
const publicName = /(?:_|^)(?:public|file|version)(?:_|$)/i;

function checkSecretName(key: string, { kind, location }: EnvInstruction | ArgInstruction, around: Surroundings): void {
  if (!secretName.test(key) || publicName.test(key)) return;
  const message = `Do not use ARG or ENV instructions for sensitive data (${kind} "${key}")`;
  around.checks.report('SecretsUsedInArgOrEnv', location, message);
}

/** Tells of the earlier one, since it is the one without effect. */
function checkSingle(stage: StageState, { kind, keyword, location }: Instruction, around: Surroundings): void {
  const earlier = stage.single.get(kind);
  stage.single.set(kind, location);
  if (earlier === undefined) return;
  const message = `Multiple ${keyword} instructions should not be used in the same stage because only the last one will be used`;
  around.checks.report('MultipleInstructionsDisallowed', earlier, message);
}

function checkJson(stage: StageState, instruction: CmdInstruction | EntrypointInstruction, around: Surroundings): void {
  if (!instruction.shell || (stage.run.Shell ?? []).length > 0) return;
  const message = `JSON arguments recommended for ${instruction.keyword} to prevent unintended behavior related to OS signals`;
  around.checks.report('JSONArgsRecommended', instruction.location, message);
}

function pairsOf(stage: StageState, instruction: EnvInstruction | LabelInstruction, around: Surroundings): [string, string][] {
  if (instruction.pairs.some((pair) => pair.legacy)) {
    const name = instruction.keyword;
    const message = `"${name} key=value" should be used instead of legacy "${name} key value" format`;
    around.checks.report('LegacyKeyValueFormat', instruction.location, message);
  }
  // All values of one instruction see the variables as they were before it.
  const expandWord = (word: string) => stage.expand(around, instruction.location, word);
  return instruction.pairs.map((pair) => {
    const key = expandWord(pair.key);
    if (key === '') throw around.source.invalid('ARGUMENT_INVALID', instruction.location, `the name in ${instruction.kind} is empty`);
    return [key, expandWord(pair.value)];
  });
}

function applyEnv(stage: StageState, instruction: EnvInstruction, around: Surroundings): void {
  const pairs = pairsOf(stage, instruction, around);
  for (const [key, value] of pairs) {
    checkSecretName(key, instruction, around);
    stage.setEnv(key, value);
  }
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
    checkSecretName(key, instruction, around);
    const given = Object.hasOwn(around.buildArgs, key) ? around.buildArgs[key] : undefined;
    let value = given ?? (fallback === undefined ? around.globals.get(key) : undefined);
    if (value === undefined && fallback !== undefined) value = stage.expand(around, instruction.location, fallback);
    if (value !== undefined && !notInEnvironment.has(key)) stage.variables.set(key, value);
    stage.buildArgs.push({ key, value });
    texts.push(value === undefined ? key : `${key}=${value}`);
  }
  stage.record(`ARG ${texts.join(' ')}`);
}

function applyExpose(stage: StageState, instruction: ExposeInstruction, around: Surroundings): void {
  const words = instruction.ports.flatMap((port) => stage.expandWords(around, instruction.location, port));
  let ports: string[];
  try {
    ports = words.flatMap((word) => {
      const parsed = parseExposedPort(word);
      checkPort(word, parsed, instruction, around);
      return parsed.ports;
    });
  } catch (error) {
    if (!(error instanceof PortError)) throw error;
    throw around.source.invalid('PORT_INVALID', instruction.location, error.message, 'Write EXPOSE 8080 or EXPOSE 53/udp.');
  }
  stage.run.ExposedPorts = { ...stage.run.ExposedPorts, ...Object.fromEntries(ports.map((port) => [port, {}])) };
  stage.record(`EXPOSE ${plainList(ports)}`);
}

function checkPort(word: string, parsed: ExposedPort, { location }: ExposeInstruction, around: Surroundings): void {
  if (parsed.protocol !== parsed.protocol.toLowerCase()) {
    around.checks.report('ExposeProtoCasing', location, `Defined protocol '${word}' in EXPOSE instruction should be lowercase`);
  }
  if (parsed.published) {
    const message = `EXPOSE instruction should not define an IP address or host-port mapping, found '${word}'`;
    around.checks.report('ExposeInvalidFormat', location, message);
  }
}

function applyWord(stage: StageState, instruction: WordInstruction, around: Surroundings): void {
  const { kind, location } = instruction;
  const value = kind === 'MAINTAINER' ? instruction.value : stage.expand(around, location, instruction.value);
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
  if (!stage.workdirSet && !value.startsWith('/')) {
    const message = `Relative workdir ${JSON.stringify(value)} can have unexpected results if the base image changes`;
    around.checks.report('WorkdirRelativePath', instruction.location, message);
  }
  stage.workdirSet = true;
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

function applyCmd(stage: StageState, command: CmdInstruction, around: Surroundings): void {
  checkSingle(stage, command, around);
  checkJson(stage, command, around);
  const args = commandArgs(stage, command);
  stage.run.Cmd = args;
  // BuildKit sets it for every CMD, in exec form too.
  stage.run.ArgsEscaped = true;
  stage.hasCommand = true;
  stage.record(`CMD ${quotedList(args)}`);
}

function applyEntrypoint(stage: StageState, command: EntrypointInstruction, around: Surroundings): void {
  checkSingle(stage, command, around);
  checkJson(stage, command, around);
  const args = command.args.length === 0 ? undefined : commandArgs(stage, command);
  if (args === undefined) delete stage.run.Entrypoint;
  else stage.run.Entrypoint = args;
  // An inherited CMD was meant for the inherited entry point.
  if (!stage.hasCommand) delete stage.run.Cmd;
  stage.record(`ENTRYPOINT ${quotedList(args ?? [])}`);
}
