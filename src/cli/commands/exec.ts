import { execErrorsHeader } from '../../api-types/own.ts';
import { EngineError } from '../../base/errors.ts';
import { route } from '../client/client.ts';
import { type Context, defineCommand } from '../command.ts';
import { boolean, list, text } from '../flags.ts';
import { parseEnvironment } from '../parse/key-values.ts';
import { followHijacked } from '../run/hijack.ts';
import { checkTerminal, type Size, terminalSize } from '../run/local.ts';
import { attachedStreams } from '../run/request.ts';

export const exec = defineCommand({
  args: '<CONTAINER> <COMMAND> [ARG...]',
  summary: 'Run a command in a running container',
  examples: [
    ['exec -it web bash', 'a shell inside'],
    ['exec web cat /etc/hosts', 'one command; its exit status is the result'],
  ],
  interspersed: false,
  flags: {
    detach: boolean('Run in the background', { short: 'd' }),
    'detach-keys': text('Keys that leave the command running', { value: 'KEYS' }),
    env: list('Set a variable', { short: 'e', value: 'NAME[=VALUE]' }),
    'env-file': list('Read variables from a file', { value: 'FILE' }),
    interactive: boolean('Keep stdin open and pass it on', { short: 'i' }),
    privileged: boolean('All capabilities'),
    tty: boolean('Give it a terminal', { short: 't' }),
    user: text('User and group', { short: 'u', value: 'USER[:GROUP]' }),
    workdir: text('Working folder inside', { short: 'w', value: 'PATH' }),
  },
  async run(context, flags, [container = '', ...command]) {
    const detach = flags.detach === true;
    const tty = flags.tty === true;
    const attach = attachedStreams({ attach: [], interactive: flags.interactive }, detach);
    if (!detach) checkTerminal({ stdin: attach.stdin, tty });
    const size = tty && !detach ? terminalSize() : undefined;
    const { Id: id } = await context.client.post<{ Id: string }>(route`/containers/${container}/exec`, {
      json: {
        AttachStdin: attach.stdin,
        AttachStdout: attach.stdout,
        AttachStderr: attach.stderr,
        Tty: tty,
        Cmd: command,
        Env: parseEnvironment(flags.env, flags['env-file'], context.env),
        User: flags.user,
        WorkingDir: flags.workdir,
        Privileged: flags.privileged === true,
        DetachKeys: flags['detach-keys'],
        ConsoleSize: consoleSize(size),
      },
    });
    if (detach) {
      await context.client.post(route`/exec/${id}/start`, { json: { Detach: true, Tty: tty } });
      return 0;
    }
    return followExec(context, id, { stdin: attach.stdin, tty, size, detachKeys: flags['detach-keys'] });
  },
});

async function followExec(
  context: Context,
  id: string,
  options: { stdin: boolean; tty: boolean; size: Size | undefined; detachKeys: string | undefined },
): Promise<number> {
  const { client, output } = context;
  const { socket } = await client.upgrade(route`/exec/${id}/start`, 'tcp', {
    headers: { [execErrorsHeader]: 'status' },
    json: { Detach: false, Tty: options.tty, ConsoleSize: consoleSize(options.size) },
  });
  // Docker's API has no way to signal an exec: ctrl-C without a terminal ends the client.
  const { detached } = await followHijacked(client, socket, output, { kind: 'exec', id }, { ...options, proxySignals: false });
  if (detached) return 0;
  const { ExitCode: exitCode, Running: running } = await client.get<{ ExitCode: number | null; Running: boolean }>(route`/exec/${id}/json`);
  if (running || exitCode === null) {
    throw new EngineError('Unavailable', 'EXEC_LOST', 'the connection closed while the command still ran', {
      hint: 'See "slipway top" for whether it still does.',
    });
  }
  return exitCode;
}

function consoleSize(size: Size | undefined): [rows: number, columns: number] | undefined {
  return size === undefined ? undefined : [size.rows, size.columns];
}
