import { posix } from 'node:path';
import type { RunMount, VertexId } from '../graph/vertex.ts';
import { proxyVariables } from './environment.ts';
import { parseHeredocMark } from './heredoc.ts';
import { type MountOptions, parseMount } from './mounts.ts';
import { absolutePath, sourcePath } from './paths.ts';
import { secretMount, sshMount } from './secret-mounts.ts';
import { placeOf, type StageState } from './stage.ts';
import type { Surroundings } from './surroundings.ts';
import type { RunInstruction } from './syntax.ts';

/** Where a script with a `#!` line of its own is mounted. */
const scriptDirectory = '/dev/pipes';

export function shellOf(stage: StageState): readonly string[] {
  const shell = stage.run.Shell ?? [];
  return shell.length > 0 ? shell : ['/bin/sh', '-c'];
}

export async function applyRun(stage: StageState, instruction: RunInstruction, around: Surroundings): Promise<void> {
  const { source } = around;
  const inputs: VertexId[] = [stage.vertex];
  const mounts: RunMount[] = [];
  for (const flag of instruction.mounts) {
    const options = parseMount(source, flag, (value) => stage.expand(around, flag.location, value));
    mounts.push(await toMount(stage, options, around, { inputs, mounts }));
  }
  const args = runArgs(stage, instruction, around, inputs, mounts);
  const proxies = proxyVariables(around.buildArgs);
  const vertex = around.graph.add({
    name: stage.nextName(`${around.isTrigger ? 'ONBUILD ' : ''}${nameOf(instruction)}`),
    lineage: around.lineage(instruction.text),
    inputs,
    operation: {
      kind: 'run',
      args,
      env: runEnvironment(stage, mounts),
      unkeyedEnv: proxies.sorted().filter(([name]) => stage.variables.get(name) === undefined),
      user: stage.run.User ?? '',
      workingDir: stage.workingDir,
      network: instruction.network === 'default' ? around.networkMode : instruction.network,
      ...(around.foreignPlatform === undefined ? {} : { platform: around.foreignPlatform }),
      mounts,
      ...(instruction.security === 'insecure' ? { security: 'insecure' as const } : {}),
      ...(instruction.devices.length === 0 ? {} : { devices: instruction.devices }),
      ...around.processes,
    },
    place: placeOf(source, { ...instruction.location, length: instruction.text.length }),
    noCache: around.noCache,
    cacheTtlMs: around.cacheTtlMs,
  });
  stage.vertex = vertex;
  stage.record(`RUN ${historyCommand(stage, args)}`, vertex);
}

/** With an ssh mount, where its socket is, unless the Dockerfile says that itself. */
function runEnvironment(stage: StageState, mounts: readonly RunMount[]): [string, string][] {
  const socket = mounts.find((mount) => mount.kind === 'ssh')?.target;
  if (socket === undefined || stage.variables.get('SSH_AUTH_SOCK') !== undefined) return stage.variables.sorted();
  const variables = stage.variables.copy();
  variables.set('SSH_AUTH_SOCK', socket);
  return variables.sorted();
}

/** The build arguments in force stand before the command: `|1 VERSION=2 /bin/sh -c make`. */
function historyCommand(stage: StageState, args: readonly string[]): string {
  const values = new Map(stage.buildArgs.map(({ key, value }) => [key, stage.variables.get(key) ?? value ?? '']));
  const counted = values.size === 0 ? [] : [`|${values.size}`, ...[...values].map(([key, value]) => `${key}=${value}`)];
  return [...counted, ...args].join(' ');
}

function nameOf(instruction: RunInstruction): string {
  const [heredoc] = instruction.heredocs;
  if (heredoc === undefined) return instruction.text;
  const lines = heredoc.content.trim().split('\n');
  return `${instruction.text} (${lines[0]?.trimEnd() ?? ''}${lines.length > 1 ? '...' : ''})`;
}

function runArgs(
  stage: StageState,
  instruction: RunInstruction,
  around: Surroundings,
  inputs: VertexId[],
  mounts: RunMount[],
): readonly string[] {
  if (!instruction.shell) return instruction.args;
  const command = instruction.args.join(' ');
  const [heredoc] = instruction.heredocs;
  if (heredoc === undefined) return [...shellOf(stage), command];
  if (parseHeredocMark(command) === undefined) {
    // Redirections and the like: the shell reads the heredocs itself.
    const bodies = instruction.heredocs.map((body) => `\n${body.content}${body.name}`);
    return [...shellOf(stage), command + bodies.join('')];
  }
  if (!heredoc.content.startsWith('#!')) return [...shellOf(stage), heredoc.content];
  const script = around.graph.add({
    name: 'inline script',
    lineage: 'inline',
    operation: { kind: 'inline', files: [{ path: `/${heredoc.name}`, text: heredoc.content, mode: 0o755 }] },
  });
  inputs.push(script);
  mounts.push({ kind: 'bind', input: inputs.length - 1, source: '/', target: scriptDirectory, readOnly: true });
  return [`${scriptDirectory}/${heredoc.name}`];
}

type Collected = { readonly inputs: VertexId[]; readonly mounts: readonly RunMount[] };

async function toMount(stage: StageState, options: MountOptions, around: Surroundings, collected: Collected): Promise<RunMount> {
  const { source } = around;
  const { inputs } = collected;
  const fail = (message: string, hint?: string) => source.invalid('MOUNT_INVALID', options.location, message, hint);
  if (options.type === 'secret') return secretMount(stage, options, around);
  if (options.type === 'ssh') return sshMount(stage, options, source, collected.mounts);
  if (options.target === undefined || options.target === '') throw fail(`a ${options.type} mount needs a target`, 'Add target=/PATH.');
  const target = absolutePath(stage.workingDir, options.target).replace(/(?<=.)\/\.?$/, '');
  if (target === '/') throw fail('a mount cannot cover the root directory');
  if (options.type === 'tmpfs') return { kind: 'tmpfs', target, sizeBytes: options.sizeBytes };
  if (options.type === 'cache') {
    const from = options.from === undefined ? undefined : inputs.push(await around.resolveFrom(options.from, options.location)) - 1;
    const namespace = around.buildArgs.BUILDKIT_CACHE_MOUNT_NS;
    const id = options.id ?? posix.normalize(options.target).replace(/(?<=.)\/$/, '');
    return {
      kind: 'cache',
      id: namespace === undefined || namespace === '' ? id : `${namespace}/${id}`,
      ...(from === undefined ? {} : { from: { input: from, source: sourcePath(options.source ?? '/') } }),
      target,
      sharing: options.sharing,
      readOnly: options.readOnly,
      mode: options.mode ?? 0o755,
      uid: options.uid ?? 0,
      gid: options.gid ?? 0,
    };
  }
  const path = sourcePath(options.source ?? '/');
  let input: VertexId;
  if (options.from === undefined) {
    input = contextVertex(around);
    around.useContext({ path, wildcard: false });
  } else input = await around.resolveFrom(options.from, options.location);
  inputs.push(input);
  return {
    kind: 'bind',
    input: inputs.length - 1,
    source: path,
    target,
    readOnly: options.readOnly,
    place: placeOf(source, options.location),
  };
}

export function contextVertex(around: Surroundings): VertexId {
  return around.graph.add({ name: 'build context', lineage: 'context', operation: { kind: 'context', name: 'default' } });
}
