import { existsSync, writeFileSync } from 'node:fs';
import { type BuildLine, type BuildResultLine, buildMediaType } from '../../api-types/build.ts';
import { EngineError } from '../../base/errors.ts';
import { parseReference } from '../../oci/reference.ts';
import { attestsOf } from '../build/attests.ts';
import { parseCacheTtl } from '../build/cache-ttl.ts';
import { cacheFlags } from '../build/caches.ts';
import { tellOfCheck } from '../build/check.ts';
import { type Context as BuildContext, type Dockerfile, resolveContext, resolveFolder } from '../build/context.ts';
import { DebuggedProgress, debugFlags } from '../build/debug.ts';
import { describeBuild, isDefinition } from '../build/describe.ts';
import { checkOutput, type Exporter, exportResult, isFilesOnly, parseOutput } from '../build/exporter.ts';
import { sendInputs } from '../build/inputs.ts';
import { LiveProgress } from '../build/live-progress.ts';
import { BuildNotes } from '../build/notes.ts';
import { PlainProgress } from '../build/plain-progress.ts';
import type { Progress } from '../build/progress.ts';
import { sendFolder } from '../build/send-folder.ts';
import { type SendingTold, toldSending } from '../build/sending.ts';
import { stepFlags, stepQuery } from '../build/step-flags.ts';
import { emptyTar } from '../build/upload.ts';
import type { CallOptions, Query } from '../client/client.ts';
import type { Response } from '../client/connection.ts';
import { readToResult } from '../client/lines.ts';
import { type Context, defineCommand } from '../command.ts';
import { cannot } from '../files.ts';
import { boolean, list, text, usageError, type Values } from '../flags.ts';
import { formatFlag } from '../format/listing.ts';
import { cut, parseLabels } from '../parse/key-values.ts';
import { allAuthsHeader } from '../registry/headers.ts';
import { pushImage, tellPushed } from '../transfer/push.ts';
import { buildCaches } from './build-caches.ts';
import { buildLogs, inspectBuild, listBuilds } from './builds.ts';

const flags = {
  ...stepFlags,
  ...cacheFlags,
  ...debugFlags,
  attest: list('State something about the result: what it was made of, or what packages are in it', {
    value: 'type=provenance|sbom[,mode=max]',
  }),
  'build-arg': list('Set an ARG; without a value it comes from the environment', { value: 'NAME[=VALUE]' }),
  file: text('The Dockerfile (PATH/Dockerfile), - reads standard input; or a build definition (build.ts, build.json)', {
    short: 'f',
    value: 'FILE',
  }),
  'build-context': list('Files, an image or a URL for a name in FROM and --from', { value: 'NAME=PLACE' }),
  'cache-ttl': list('Run RUN again when its result is older: of a stage or step, or of all', { value: '[NAME=]DURATION' }),
  check: boolean('Only check the Dockerfile: the status is 1 when there is a warning'),
  explain: boolean('Say of every step afterwards whether it was cached, and why not'),
  format: formatFlag,
  iidfile: text('Write the image’s ID to a file', { value: 'FILE' }),
  label: list('Set a label', { value: 'NAME[=VALUE]' }),
  'metadata-file': text('Write what was built to a file, as JSON', { value: 'FILE' }),
  network: text('Network of RUN: default, none or host', { value: 'MODE' }),
  'no-cache': boolean('Run every step'),
  'no-cache-filter': list('Run every step of these stages (comma-separated)', { value: 'STAGE' }),
  output: text(
    'Write the result to a folder or tar: type=local,dest=DIR, type=tar,dest=FILE|-; or the image to an archive: type=oci|docker,dest=FILE',
    { short: 'o', value: 'OUTPUT' },
  ),
  platform: text('Platform to build for, or several with commas between them', { value: 'OS/ARCH[,...]' }),
  progress: text('auto, plain, tty, json or quiet', { value: 'KIND' }),
  pull: boolean('Ask for newer base images, too, and not only for those that are not here'),
  secret: list('A secret for steps that mount it; with ,invalidate they run again when its value is another one', {
    value: 'id=NAME,src=FILE|env=NAME',
  }),
  ssh: list('An ssh agent for steps that mount it (SSH_AUTH_SOCK)', { value: 'default|ID[=SOCKET]' }),
  provenance: text('The same as --attest type=provenance', { value: 'true|mode=max' }),
  sbom: text('The same as --attest type=sbom', { value: 'true' }),
  push: boolean('Push the image to the registries of its names'),
  quiet: boolean('Print only the image’s ID', { short: 'q' }),
  tag: list('Name of the image', { short: 't', value: 'NAME[:TAG]' }),
  target: text('Stage to build (the last)', { value: 'STAGE' }),
  trace: text('Write a timeline to a file that chrome://tracing and Perfetto open', { value: 'FILE' }),
  timestamps: text('first: files keep the time at which their content was first seen; source: as in the context; epoch: 0', {
    value: 'KIND',
  }),
};
type Flags = Values<typeof flags>;

export const build = defineCommand({
  args: '<PATH|-|ls|inspect|logs|caches> [BUILD...]',
  summary: 'Build an image from a Dockerfile, or from what a module describes',
  examples: [
    ['build -t web:2 .', 'the current folder'],
    ['build --target test .', 'one stage'],
    ['build -o type=local,dest=out .', 'files instead of an image'],
    ['build -f build.ts .', 'what a module of TypeScript describes'],
    ['build ls', 'builds of the past; "build inspect ID" and "build logs ID" tell more (a folder of such a name is ./ls)'],
    ['build caches ls', 'what RUN --mount=type=cache keeps; "rm", "export" and "import" go on from there'],
  ],
  flags,
  async run(context, flags, [place = '', build, ...more]) {
    if (place === 'caches' && (build !== undefined || !existsSync(place)))
      return buildCaches(context, flags, build === undefined ? [] : [build, ...more]);
    if (more.length > 0) throw usageError(`"slipway build" takes one folder, not "${place}", "${build}" and "${more[0]}"`);
    if (await tellOfBuilds(context, flags, place, build)) return;
    const output = flags.output === undefined ? undefined : parseOutput(flags.output);
    if (output !== undefined) checkOutput(context, output);
    if (flags.push) checkPush(flags, output);
    const source = await resolveSource(context, place, flags);
    if (flags.debug && (place === '-' || flags.file === '-'))
      throw usageError('--debug reads standard input for the shell, so neither context nor Dockerfile can come from there');
    const chosen = chooseProgress(context, flags);
    const debugged = flags.debug ? new DebuggedProgress(chosen, context, flags['debug-command']) : undefined;
    const shown = debugged ?? chosen;
    const notes = new BuildNotes();
    const progress: Progress = {
      line: (line) => {
        notes.line(line);
        shown.line(line);
      },
      result: (result) => shown.result(result),
      close: () => shown.close(),
    };
    const stop = onInterrupt(progress);
    using inputs = new DisposableStack();
    try {
      const sent = inputs.use(await sendInputs(context, flags, stop.signal));
      const told = toldSending(progress);
      const response = await requestBuild(context, source, {
        query: {
          ...buildQuery(flags, context.env),
          ...stepQuery(flags),
          debug: debugged === undefined ? undefined : 1,
          dockerfile: source.dockerfile.name,
          definition: source.definition,
          inputs: sent.id,
          slipwayOutput: flags.check ? 'check' : output !== undefined && isFilesOnly(output) ? 'tree' : undefined,
        },
        signal: stop.signal,
        told,
      });
      const result = await readToResult<BuildLine, BuildResultLine>(response, (line) => progress.line(line));
      if (flags.check) return tellOfCheck(context, notes.warnings);
      if (flags.iidfile !== undefined) writeText(flags.iidfile, result.imageId ?? '');
      progress.result(result);
      if (output !== undefined) await exportResult(context, result, output);
      const digest = flags.push ? await pushTags(context, result, isQuiet(flags)) : undefined;
      if (isQuiet(flags) && result.imageId !== undefined) context.output.line(result.imageId);
      if (flags['metadata-file'] !== undefined)
        writeText(flags['metadata-file'], `${JSON.stringify(metadataOf(result, digest), null, 2)}\n`);
    } finally {
      await debugged?.ended();
      progress.close();
      stop.dispose();
      // Of a build that failed, too.
      if (flags.explain) for (const line of notes.explanation()) context.output.error(`${line}\n`);
      if (flags.trace !== undefined) writeText(flags.trace, JSON.stringify(notes.trace()));
    }
  },
});

/** `build ls`, `build inspect ID`, `build logs ID`. False when it is a build that is asked for. */
async function tellOfBuilds(context: Context, flags: Flags, word: string, build: string | undefined): Promise<boolean> {
  if (word === 'ls' && build === undefined) {
    await listBuilds(context, flags);
    return true;
  }
  if (word !== 'inspect' && word !== 'logs') {
    if (build !== undefined) throw usageError(`"slipway build" takes one folder, not "${word}" and "${build}"`);
    return false;
  }
  if (build === undefined) throw usageError(`"slipway build ${word}" needs the ID of a build`, '"slipway build ls" lists them.');
  await (word === 'logs' ? buildLogs : inspectBuild)(context, build);
  return true;
}

function checkPush({ tag }: Flags, output: Exporter | undefined): void {
  if (tag.length === 0) throw usageError('--push needs a name to push to', 'Give one with --tag registry.example/team/web:2.');
  if (output !== undefined && isFilesOnly(output)) throw usageError('--push needs an image, and --output asks for files only');
}

/** Every tag of the build to its registry. Gives the digest that the last one names there. */
async function pushTags(context: Context, { tags }: BuildResultLine, quiet: boolean): Promise<string | undefined> {
  let digest: string | undefined;
  for (const tag of tags) {
    const reference = parseReference(tag);
    for (const pushed of await pushImage(context, reference, { quiet })) {
      tellPushed(context, reference, pushed, quiet);
      digest = pushed.Digest;
    }
  }
  return digest;
}

/** In the words of buildx, as far as they mean something here. `digest`: what was pushed. */
function metadataOf({ imageId, indexDigest, tree, content, tags }: BuildResultLine, digest: string | undefined): Record<string, unknown> {
  return {
    ...((digest ?? indexDigest) === undefined ? {} : { 'containerimage.digest': digest ?? indexDigest }),
    ...(imageId === undefined ? {} : { 'containerimage.config.digest': imageId }),
    ...(tags.length === 0 ? {} : { 'image.name': tags.join(',') }),
    'slipway.tree': tree,
    'slipway.content': content,
  };
}

function buildQuery(flags: Flags, env: NodeJS.ProcessEnv): Query {
  return {
    t: flags.tag,
    target: flags.target,
    buildargs: flags['build-arg'].length === 0 ? undefined : JSON.stringify(parseBuildArgs(flags['build-arg'], env)),
    labels: flags.label.length === 0 ? undefined : JSON.stringify(parseLabels(flags.label)),
    nocache: flags['no-cache'] ? 1 : undefined,
    attests: attestsOf(flags),
    nocachefilter: flags['no-cache-filter'].flatMap((text) => text.split(',').filter((name) => name !== '')),
    cachettl: flags['cache-ttl'].length === 0 ? undefined : JSON.stringify(flags['cache-ttl'].map(parseCacheTtl)),
    networkmode: flags.network,
    platform: flags.platform,
    pull: flags.pull ? 1 : undefined,
    timestamps: flags.timestamps,
  };
}

type Source = {
  context: BuildContext;
  dockerfile: Dockerfile /** Id of the build definition, which the daemon has. */;
  definition?: string;
};

async function resolveSource({ client, env }: Context, place: string, flags: Flags): Promise<Source> {
  const { file } = flags;
  if (!isDefinition(file)) return resolveContext(place, file);
  const context = resolveFolder(place);
  const text = await describeBuild(file, { args: parseBuildArgs(flags['build-arg'], env), target: flags.target ?? '' });
  const headers = { 'Content-Type': 'application/vnd.slipway.build-definition+json' };
  const { id } = await client.json<{ id: string }>('POST', '/slipway/build-definitions', { headers, body: text });
  return { context, dockerfile: { name: file }, definition: id };
}

/** An argument without a value takes that of the environment, and is left out where there is none. */
export function parseBuildArgs(texts: readonly string[], env: NodeJS.ProcessEnv): Record<string, string> {
  const args: Record<string, string> = {};
  for (const text of texts) {
    const [name, value] = cut(text);
    if (name === '') throw usageError(`invalid build argument ${JSON.stringify(text)}`, 'Arguments look like VERSION=1.2.');
    const set = value ?? env[name];
    if (set !== undefined) args[name] = set;
  }
  return args;
}

/** In place when the daemon sees the folder; else, at its 412, what it lacks of it is sent before. */
async function requestBuild(
  engine: Context,
  { context, dockerfile }: { context: BuildContext; dockerfile: Dockerfile },
  { told, ...options }: CallOptions & { signal: AbortSignal; told: SendingTold },
): Promise<Response> {
  const { client } = engine;
  const headers: Record<string, string> = { Accept: buildMediaType, ...allAuthsHeader(engine) };
  if (dockerfile.text !== undefined) headers['X-Slipway-Dockerfile'] = Buffer.from(dockerfile.text).toString('base64');
  const send = (body: AsyncIterable<Uint8Array>) =>
    client.call('POST', '/build', { ...options, headers: { ...headers, 'Content-Type': 'application/x-tar' }, body });
  if (context.kind === 'stream') return send(context.body);
  if (context.kind === 'empty') return send(emptyTar());
  const shared = await client.exchange('POST', '/build', {
    ...options,
    headers: { ...headers, 'X-Slipway-Context': asciiJson(context.shared) },
  });
  if (shared.status !== 412) return client.check(shared);
  shared.close();
  const inside = dockerfile.text === undefined ? dockerfile.name : '';
  const { tree } = await told(() => sendFolder(engine, { folder: context.path, dockerfile: inside, signal: options.signal }));
  return client.call('POST', '/build', { ...options, headers: { ...headers, 'X-Slipway-Context': asciiJson({ tree }) } });
}

/** Headers are bytes: what is not ASCII is escaped. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function isQuiet(flags: Flags): boolean {
  return flags.quiet === true || flags.progress === 'quiet';
}

function chooseProgress(context: Context, flags: Flags): Progress {
  const { output } = context;
  const kind = isQuiet(flags) ? 'quiet' : (flags.progress ?? 'auto');
  const write = (text: string) => output.error(text);
  if (kind === 'quiet') return { line() {}, result() {}, close() {} };
  if (kind === 'json') {
    const print = (line: unknown) => write(`${JSON.stringify(line)}\n`);
    return { line: print, result: print, close() {} };
  }
  if (kind === 'plain' || (kind === 'auto' && (!output.isTerminal(2) || context.env.TERM === 'dumb'))) return new PlainProgress(write);
  if (kind !== 'tty' && kind !== 'auto')
    throw usageError(`invalid argument "${kind}" for --progress`, 'Kinds are auto, plain, tty, json and quiet.');
  return new LiveProgress({
    write,
    size: () => ({ columns: process.stderr.columns || 80, rows: process.stderr.rows || 24 }),
    paint: (code, shown) => output.paint(2, code, shown),
  });
}

/** Ctrl-C closes the connection, which cancels the build, and gives the terminal back. */
function onInterrupt(progress: Progress): { signal: AbortSignal; dispose(): void } {
  const controller = new AbortController();
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const interrupt = (name: NodeJS.Signals) => {
    progress.close();
    controller.abort(new EngineError('Cancelled', 'INTERRUPTED', `interrupted by ${name}`));
  };
  for (const name of names) process.once(name, interrupt);
  return {
    signal: controller.signal,
    dispose: () => {
      for (const name of names) process.off(name, interrupt);
    },
  };
}

function writeText(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (error) {
    throw cannot('write', file, error);
  }
}
