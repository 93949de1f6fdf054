import type { ContainerInspect, WaitResponse } from '../../api-types/container-inspect.ts';
import { EngineError } from '../../base/errors.ts';
import { route } from '../client/client.ts';
import { type Context, defineCommand } from '../command.ts';
import { boolean, text, usageError } from '../flags.ts';
import { followHijacked } from '../run/hijack.ts';
import { checkTerminal, terminalSize } from '../run/local.ts';
import { eachName } from './each.ts';

const detachKeysFlag = text('Keys that leave the container running', { value: 'KEYS' });
const sigProxyFlag = boolean('Pass signals on to the process (default true)');

export const start = defineCommand({
  args: '<CONTAINER...>',
  summary: 'Start containers that were made or stopped',
  flags: {
    attach: boolean('Show the output and end with its exit status', { short: 'a' }),
    interactive: boolean('Pass stdin on', { short: 'i' }),
    'detach-keys': detachKeysFlag,
    'sig-proxy': sigProxyFlag,
  },
  async run(context, flags, names) {
    if (!flags.attach && !flags.interactive) {
      return eachName(context, names, (name) => context.client.post(route`/containers/${name}/start`));
    }
    if (names.length > 1) throw usageError('only one container can be attached to at a time');
    return follow(context, names[0] ?? '', {
      stdin: flags.interactive === true,
      proxySignals: flags['sig-proxy'] !== false,
      detachKeys: flags['detach-keys'],
      begin: (id) => context.client.post(route`/containers/${id}/start`),
    });
  },
});

export const attach = defineCommand({
  args: '<CONTAINER>',
  summary: 'Follow a running container with its stdin, stdout and stderr',
  flags: {
    'no-stdin': boolean('Do not pass stdin on'),
    'detach-keys': detachKeysFlag,
    'sig-proxy': sigProxyFlag,
  },
  async run(context, flags, [name = '']) {
    const { State: state } = await context.client.get<ContainerInspect>(route`/containers/${name}/json`);
    if (!state.Running) {
      throw new EngineError('Conflict', 'CONTAINER_NOT_RUNNING', `container ${name} is not running`, {
        hint: `Start it with "slipway start -a ${name}".`,
      });
    }
    return follow(context, name, {
      stdin: !flags['no-stdin'],
      proxySignals: flags['sig-proxy'] !== false,
      detachKeys: flags['detach-keys'],
    });
  },
});

type FollowOptions = {
  stdin: boolean;
  proxySignals: boolean;
  detachKeys: string | undefined;
  /** Called once the streams are connected. */
  begin?: (id: string) => Promise<unknown>;
};

/** Docker's order: attach, wait, start; so that neither output nor exit can be missed. */
async function follow(context: Context, name: string, { begin, ...options }: FollowOptions): Promise<number> {
  const { client, output } = context;
  const { Id: id, Config: config } = await client.get<ContainerInspect>(route`/containers/${name}/json`);
  const tty = config.Tty === true;
  const stdin = options.stdin && config.OpenStdin === true;
  checkTerminal({ stdin, tty });
  const { socket } = await client.upgrade(route`/containers/${id}/attach`, 'tcp', {
    query: { stream: 1, stdin: stdin ? 1 : undefined, stdout: 1, stderr: 1, detachKeys: options.detachKeys },
  });
  const followed = followHijacked(client, socket, output, { kind: 'container', id }, { ...options, stdin, tty });
  followed.catch(() => undefined); // awaited below; a failed start must be told first
  const exited = client.post<WaitResponse>(route`/containers/${id}/wait`, {
    query: { condition: begin === undefined ? 'not-running' : 'next-exit' },
  });
  exited.catch(() => undefined);
  await begin?.(id);
  const size = tty ? terminalSize() : undefined;
  if (size !== undefined)
    await client.post(route`/containers/${id}/resize`, { query: { h: size.rows, w: size.columns } }).catch(() => undefined);
  if ((await followed).detached) return 0;
  return (await exited).StatusCode;
}
