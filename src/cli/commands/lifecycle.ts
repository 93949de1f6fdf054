import type { ContainerInspect, WaitResponse } from '../../api-types/container-inspect.ts';
import { EngineError } from '../../base/errors.ts';
import { route } from '../client/client.ts';
import { defineCommand } from '../command.ts';
import { boolean, integer, text, usageError } from '../flags.ts';
import { eachName } from './each.ts';

const timeFlag = integer('Seconds before it is killed; -1 waits for ever', { short: 't', value: 'N', aliases: ['time'] });
const signalFlag = text('Signal that asks it to stop', { short: 's', value: 'SIGNAL' });

export const stop = defineCommand({
  args: '<CONTAINER...>',
  summary: 'Stop running containers',
  flags: { timeout: timeFlag, signal: signalFlag },
  run: (context, flags, names) =>
    eachName(context, names, (name) =>
      context.client.post(route`/containers/${name}/stop`, { query: { t: flags.timeout, signal: flags.signal } }),
    ),
});

export const restart = defineCommand({
  args: '<CONTAINER...>',
  summary: 'Stop containers and start them again',
  flags: { timeout: timeFlag, signal: signalFlag },
  run: (context, flags, names) =>
    eachName(context, names, (name) =>
      context.client.post(route`/containers/${name}/restart`, { query: { t: flags.timeout, signal: flags.signal } }),
    ),
});

export const kill = defineCommand({
  args: '<CONTAINER...>',
  summary: 'Send running containers a signal (SIGKILL)',
  flags: { signal: signalFlag },
  run: (context, flags, names) =>
    eachName(context, names, (name) => context.client.post(route`/containers/${name}/kill`, { query: { signal: flags.signal } })),
});

export const pause = defineCommand({
  args: '<CONTAINER...>',
  summary: 'Freeze all processes of containers',
  flags: {},
  run: (context, _flags, names) => eachName(context, names, (name) => context.client.post(route`/containers/${name}/pause`)),
});

export const unpause = defineCommand({
  args: '<CONTAINER...>',
  summary: 'Let frozen containers go on',
  flags: {},
  run: (context, _flags, names) => eachName(context, names, (name) => context.client.post(route`/containers/${name}/unpause`)),
});

export const rename = defineCommand({
  args: '<CONTAINER> <NEW-NAME>',
  summary: 'Give a container another name',
  flags: {},
  async run(context, _flags, [name = '', to = '']) {
    await context.client.post(route`/containers/${name}/rename`, { query: { name: to } });
  },
});

export const rm = defineCommand({
  args: '<CONTAINER...>',
  summary: 'Remove containers',
  flags: {
    force: boolean('Kill a running one; a missing one is no error', { short: 'f' }),
    link: boolean('Remove a link, and not the container', { short: 'l' }),
    volumes: boolean('Remove its anonymous volumes too', { short: 'v' }),
  },
  run: (context, { force, volumes, link }, names) =>
    eachName(context, names, async (name) => {
      if (name === '' || name === '/') throw usageError('the name of a container must not be empty');
      try {
        await context.client.delete(route`/containers/${name}`, { force, v: volumes, link });
      } catch (error) {
        if (!(force && error instanceof EngineError && error.kind === 'NotFound')) throw error;
      }
    }),
});

export const wait = defineCommand({
  args: '<CONTAINER...>',
  summary: 'Wait until containers stop and print their exit codes',
  flags: {},
  run: (context, _flags, names) =>
    eachName(
      context,
      names,
      async (name) => {
        const result = await context.client.post<WaitResponse>(route`/containers/${name}/wait`);
        // What is to be said about the end (a monitor that was killed) does not make the code less of an answer.
        context.output.line(String(result.StatusCode));
        if (result.Error !== undefined) context.output.error(`${name}: ${result.Error.Message}\n`);
      },
      { quiet: true },
    ),
});

export const port = defineCommand({
  args: '<CONTAINER> [PORT[/PROTOCOL]]',
  summary: 'Show the ports that a container publishes',
  flags: {},
  async run(context, _flags, [name = '', wanted]) {
    const { NetworkSettings: settings } = await context.client.get<ContainerInspect>(route`/containers/${name}/json`);
    const key = wanted === undefined || wanted.includes('/') ? wanted : `${wanted}/tcp`;
    if (key !== undefined) {
      const bindings = settings.Ports[key];
      if (!bindings) throw new EngineError('NotFound', 'PORT_NOT_PUBLISHED', `${name} does not publish ${key}`);
      for (const binding of bindings) context.output.line(showBinding(binding));
      return;
    }
    for (const [from, bindings] of Object.entries(settings.Ports)) {
      for (const binding of bindings ?? []) context.output.line(`${from} -> ${showBinding(binding)}`);
    }
  },
});

function showBinding({ HostIp: ip, HostPort: hostPort }: { HostIp: string; HostPort: string }): string {
  return `${ip.includes(':') ? `[${ip}]` : ip}:${hostPort}`;
}
