import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs';
import type { CreateContainerRequest } from '../../api-types/container.ts';
import type { RunRequest } from '../../api-types/own.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import { parsePlatform } from '../../oci/platform.ts';
import { route } from '../client/client.ts';
import { type Context, defineCommand } from '../command.ts';
import { boolean, text, usageError } from '../flags.ts';
import { containerFlags } from '../run/flags.ts';
import { withImage } from '../run/images.ts';
import { checkTerminal, terminalSize } from '../run/local.ts';
import { type ContainerFlags, createRequest } from '../run/request.ts';
import { followRun } from '../run/session.ts';
import { RunTimings } from '../run/timings.ts';

export const runFlags = {
  ...containerFlags,
  detach: boolean('Run in the background and print the ID', { short: 'd' }),
  'detach-keys': text('Keys that leave the container running', { value: 'KEYS' }),
  'sig-proxy': boolean('Pass signals on to the process (default true)'),
  timing: boolean('Show on standard error what took how long'),
};

export const run = defineCommand({
  args: '<IMAGE> [COMMAND] [ARG...]',
  summary: 'Make a container from an image and run a command in it',
  description:
    'Without -d it shows the output, passes signals on and ends with the exit status of the command; 125 means that the engine failed, 126 that the ' +
    'command could not be run, and 127 that it was not found.',
  examples: [
    ['run --rm debian:bookworm cat /etc/os-release', 'one command, nothing left behind'],
    ['run -it --rm debian:bookworm bash', 'a shell; ctrl-p ctrl-q leaves it running'],
    ['run -d --name web -p 8080:80 -v data:/var/lib/web web:2', 'a service with a port and a volume'],
  ],
  interspersed: false,
  errorStatus: 125,
  flags: runFlags,
  async run(context, flags, args) {
    const detach = flags.detach === true;
    const timings = flags.timing === true ? new RunTimings() : undefined;
    const create = createRequest(flags, args, { detach, env: context.env });
    const options = { stdin: create.AttachStdin === true, tty: create.Tty === true };
    if (!detach) checkTerminal(options);
    const cidfile = flags.cidfile === undefined ? undefined : new CidFile(flags.cidfile);
    try {
      const { socket } = await withImage(context, { ...flags, image: args[0] ?? '' }, async () => {
        const Image = await platformImage(context, flags, args[0] ?? '');
        timings?.asked();
        return context.client.upgrade('/slipway/run', 'slipway-run', {
          json: { ...runRequest({ ...create, Image }, flags.name, detach), ...(timings === undefined ? {} : { timing: true }) },
        });
      });
      const end = await followRun(socket, context.output, {
        ...options,
        detach,
        proxySignals: flags['sig-proxy'] !== false,
        detachKeys: flags['detach-keys'],
        onId: (id) => cidfile?.write(id),
        onWarnings: (warnings) => printWarnings(context, flags, warnings),
        onTiming: (spans) => timings?.told(spans),
      });
      if (end.error !== undefined) throw end.error;
      if (detach) context.output.line(end.id);
      else if (flags.rm && !end.detached && end.id !== undefined) await awaitRemoval(context, end.id);
      if (timings !== undefined) context.output.error(timings.table());
      return end.exitCode;
    } finally {
      cidfile?.close();
    }
  },
});

export const create = defineCommand({
  args: '<IMAGE> [COMMAND] [ARG...]',
  summary: 'Make a container without starting it',
  interspersed: false,
  errorStatus: 125,
  flags: containerFlags,
  async run(context, flags, args) {
    const body = createRequest(flags, args, { detach: false, env: context.env });
    const cidfile = flags.cidfile === undefined ? undefined : new CidFile(flags.cidfile);
    try {
      const created = await withImage(context, { ...flags, image: args[0] ?? '' }, async () => {
        return context.client.post<{ Id: string; Warnings?: string[] | null }>('/containers/create', {
          query: { name: flags.name, platform: flags.platform },
          json: body,
        });
      });
      cidfile?.write(created.Id);
      printWarnings(context, flags, created.Warnings ?? []);
      context.output.line(created.Id);
    } finally {
      cidfile?.close();
    }
  },
});

function runRequest(create: CreateContainerRequest, name: string | undefined, detach: boolean): RunRequest {
  const tty = create.Tty === true;
  const size = tty && !detach ? terminalSize() : undefined;
  return {
    name,
    create,
    detach,
    rm: create.HostConfig?.AutoRemove === true,
    attachStdin: create.AttachStdin === true,
    attachStdout: create.AttachStdout === true,
    attachStderr: create.AttachStderr === true,
    tty,
    size: size === undefined ? undefined : [size.rows, size.columns],
  };
}

/** After this the name, the ports and the volumes are free for the next command. */
async function awaitRemoval(context: Context, id: string): Promise<void> {
  try {
    await context.client.post(route`/containers/${id}/wait`, { query: { condition: 'removed' } });
  } catch (error) {
    if (!(error instanceof EngineError && error.kind === 'NotFound')) throw error;
  }
}

function printWarnings(context: Context, flags: Pick<ContainerFlags, 'quiet'>, warnings: readonly string[]): void {
  if (flags.quiet) return;
  for (const warning of warnings) context.output.error(`WARNING: ${warning}\n`);
}

/** What to make the container of: the image for `--platform`, which may be one of several under that name. */
async function platformImage(context: Context, { platform }: Pick<ContainerFlags, 'platform'>, image: string): Promise<string> {
  if (platform === undefined || platform === 'linux') return image;
  const { os, architecture, variant } = parsePlatform(platform);
  const wanted = JSON.stringify({ os, architecture, ...(variant === undefined ? {} : { variant }) });
  const [named, found] = await Promise.all([
    context.client.get<{ Id: string }>(route`/images/${image}/json`),
    context.client.get<{ Id: string }>(route`/images/${image}/json`, { platform: wanted }),
  ]);
  return found.Id === named.Id ? image : found.Id;
}

/** A file for the new container's ID: must not exist before, and does not stay when there was no container. */
class CidFile {
  readonly #path: string;
  readonly #fd: number;
  #written = false;

  constructor(path: string) {
    this.#path = path;
    try {
      this.#fd = openSync(path, 'wx', 0o644);
    } catch (error) {
      if (isErrno(error, 'EEXIST'))
        throw usageError(`the file ${path} (--cidfile) exists already`, 'Remove it, or make sure that the container it names is gone.');
      throw error;
    }
  }

  write(id: string): void {
    writeSync(this.#fd, id);
    this.#written = true;
  }

  close(): void {
    closeSync(this.#fd);
    if (!this.#written) unlinkSync(this.#path);
  }
}
