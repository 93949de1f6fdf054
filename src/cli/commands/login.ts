import { readFileSync, readSync } from 'node:fs';
import type { AuthConfig, AuthResponse } from '../../api-types/registry.ts';
import { EngineError } from '../../base/errors.ts';
import { type Context, defineCommand } from '../command.ts';
import { boolean, text, usageError } from '../flags.ts';
import { configPath } from '../registry/config-file.ts';
import { CredentialStore, type Credentials, hostOf, hubAddress } from '../registry/credentials.ts';

export const login = defineCommand({
  args: '[SERVER]',
  summary: 'Log in to a registry',
  description: 'Credentials are kept where docker keeps them: by the helper that ~/.docker/config.json names, else in that file.',
  examples: [['login -u me --password-stdin registry.example.com < token', 'without a terminal']],
  flags: {
    password: text('Password (seen by others in the list of processes)', { short: 'p', value: 'TEXT' }),
    'password-stdin': boolean('Read the password from standard input'),
    username: text('User', { short: 'u', value: 'NAME' }),
  },
  async run(context, flags, [name]) {
    const server = serverAddress(name);
    const store = new CredentialStore(configPath(context.configFolder, context.env), context.env);
    const given = givenPassword(context, flags);
    const kept = flags.username === undefined && given === undefined ? store.get(server) : undefined;
    const credentials = kept ?? ask(context, server, flags.username, given);
    const body: AuthConfig = {
      username: credentials.username,
      password: credentials.password,
      identitytoken: credentials.identityToken,
      serveraddress: server,
    };
    const { Status: status, IdentityToken: identityToken } = await context.client.post<AuthResponse>('/auth', { json: body });
    store.store(server, identityToken ? { ...credentials, password: '', identityToken } : credentials);
    if (store.helperOf(server) === undefined) {
      context.output.error(
        `WARNING: the credentials lie unencrypted in ${store.path}. A credential helper keeps them better: see docs/cli.md.\n`,
      );
    }
    context.output.line(status);
  },
});

export const logout = defineCommand({
  args: '[SERVER]',
  summary: 'Forget the credentials of a registry',
  flags: {},
  async run(context, _flags, [name]) {
    const server = serverAddress(name);
    const store = new CredentialStore(configPath(context.configFolder, context.env), context.env);
    if (store.erase(server)) context.output.line(`Removing login credentials for ${server === hubAddress ? server : hostOf(server)}`);
    else context.output.line(`Not logged in to ${server}`);
  },
});

function serverAddress(name: string | undefined): string {
  return name === undefined || name === '' || name === 'docker.io' ? hubAddress : name;
}

type Given = { password?: string | undefined; 'password-stdin'?: boolean | undefined; username?: string | undefined };

function givenPassword({ output }: Context, flags: Given): string | undefined {
  const fromStdin = flags['password-stdin'] === true || flags.password === '-';
  if (fromStdin && flags.password !== undefined && flags.password !== '-')
    throw usageError('--password and --password-stdin exclude each other');
  if (fromStdin && flags.username === undefined) throw usageError('--password-stdin needs --username');
  if (flags.username === '') throw usageError('--username is empty');
  if (!fromStdin) {
    if (flags.password === '') throw usageError('--password is empty');
    if (flags.password !== undefined) output.error('WARNING: --password shows in the list of processes. Use --password-stdin.\n');
    return flags.password;
  }
  // One end of line belongs to the pipe; everything else may be part of the password.
  const password = readFileSync(0, 'utf8').replace(/\r?\n$/, '');
  if (password.trim() === '') throw usageError('the password on standard input is empty');
  return password;
}

function ask({ output }: Context, server: string, username: string | undefined, password: string | undefined): Credentials {
  if ((username === undefined || password === undefined) && !process.getBuiltinModule('node:tty').isatty(0)) {
    throw new EngineError('InvalidArgument', 'NO_TERMINAL', 'there is nobody to ask: standard input is no terminal', {
      hint: 'Use --username and --password-stdin.',
      exitCode: 1,
    });
  }
  if (username === undefined) output.error(`Log in to ${server}\nUsername: `);
  const user = username ?? readLine();
  if (user === '') throw usageError('the user name is empty');
  const secret = password ?? readHidden();
  if (secret === '') throw usageError('the password is empty');
  return { username: user, password: secret, identityToken: '' };
}

function readLine(): string {
  const bytes: number[] = [];
  const one = Buffer.alloc(1);
  while (readSync(0, one) === 1 && one[0] !== 0x0a) bytes.push(one[0] ?? 0);
  return Buffer.from(bytes).toString('utf8').trim();
}

/**
 * A shell turns the echo off and, however it ends, on again: a read here would not see an interrupt. It asks once the echo is off, so that
 * nothing of a password is shown that is typed as soon as it is asked for.
 */
function readHidden(): string {
  const script =
    "trap 'stty echo' EXIT; trap 'exit 130' INT TERM HUP; stty -echo; printf 'Password: ' >&2; IFS= read -r answer; printf %s \"$answer\"";
  const { status, stdout } = process
    .getBuiltinModule('node:child_process')
    .spawnSync('sh', ['-c', script], { stdio: ['inherit', 'pipe', 'inherit'], encoding: 'utf8' });
  process.stderr.write('\n');
  if (status !== 0) throw new EngineError('Cancelled', 'CANCELLED', 'no password was given');
  return stdout;
}
