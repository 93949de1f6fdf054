import { randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { SharedContext } from '../../api-types/build.ts';
import { EngineError } from '../../base/errors.ts';
import type { Context } from '../command.ts';
import { cannot } from '../files.ts';
import { usageError } from '../flags.ts';
import { cut } from '../parse/key-values.ts';
import { cacheInputs } from './caches.ts';
import { carryAgent } from './carry-agent.ts';
import { sendFolder } from './send-folder.ts';

type InputFlags = {
  readonly secret: readonly string[];
  readonly ssh: readonly string[];
  readonly 'build-context': readonly string[];
  readonly 'cache-from': readonly string[];
  readonly 'cache-to': readonly string[];
};

/** `dispose` ends the connections over which agents are carried. */
type SentInputs = { readonly id: string | undefined } & Disposable;
type SentContext = { folder: SharedContext } | { tree: string } | { image: string } | { url: string };
type Lists = { contexts: Record<string, SentContext>; ssh: Record<string, SharedContext | { carried: string }> };

/**
 * What a build needs beside its context, sent ahead of it; the id by which it names that, or undefined when there is nothing. Folders and ssh agents that the daemon does not see are sent or carried over
 * the connection.
 */
export async function sendInputs(
  engine: Pick<Context, 'client' | 'env'>,
  flags: InputFlags,
  signal: AbortSignal = new AbortController().signal,
): Promise<SentInputs> {
  const { env } = engine;
  const nothing = { [Symbol.dispose]: () => undefined };
  const caches = cacheInputs(flags, env);
  if (flags.secret.length + flags.ssh.length + flags['build-context'].length === 0 && caches === undefined)
    return { id: undefined, ...nothing };
  const secrets = Object.fromEntries(flags.secret.map((text) => readSecret(text, env)));
  const invalidate = flags.secret.filter((text) => isFlagged(secretFields(text))).map((text) => secretFields(text).id);
  const given: Lists = {
    ssh: Object.fromEntries(flags.ssh.map((text) => findAgent(text, env))),
    contexts: Object.fromEntries(flags['build-context'].map(namedContext)),
  };
  const send = async ({ ssh, contexts }: Lists) => {
    const body = JSON.stringify({ secrets, invalidate, ssh, contexts, caches });
    const headers = { 'Content-Type': 'application/vnd.slipway.build-inputs+json' };
    return (await engine.client.json<{ id: string }>('POST', '/slipway/build-inputs', { headers, body, signal })).id;
  };
  try {
    return { id: await send(given), ...nothing };
  } catch (error) {
    if (!(error instanceof EngineError && error.code === 'BUILD_INPUT_NOT_SHARED')) throw error;
  }
  using carried = new DisposableStack();
  const contexts = await sendFolders(engine, given.contexts, signal);
  const ssh = await carryAgents(engine, given.ssh, carried);
  const id = await send({ ssh, contexts });
  const held = carried.move();
  return { id, [Symbol.dispose]: () => held.dispose() };
}

async function sendFolders(
  engine: Pick<Context, 'client' | 'env'>,
  contexts: Lists['contexts'],
  signal: AbortSignal,
): Promise<Lists['contexts']> {
  const sent: Lists['contexts'] = {};
  for (const [name, context] of Object.entries(contexts)) {
    if ('folder' in context) {
      const { tree } = await sendFolder(engine, { folder: context.folder.path, dockerfile: '', signal });
      sent[name] = { tree };
    } else sent[name] = context;
  }
  return sent;
}

async function carryAgents(engine: Pick<Context, 'client'>, agents: Lists['ssh'], carried: DisposableStack): Promise<Lists['ssh']> {
  const sent: Lists['ssh'] = {};
  for (const [id, agent] of Object.entries(agents)) {
    if ('carried' in agent) continue;
    const name = randomBytes(16).toString('hex');
    carried.use(await carryAgent(engine, name, agent.path));
    sent[id] = { carried: name };
  }
  return sent;
}

/** `id=NAME[,src=FILE|,env=NAME]`, as docker has it: without a source it is the variable, or else the file, of that name. */
function readSecret(text: string, env: NodeJS.ProcessEnv): [id: string, base64: string] {
  const fields = secretFields(text);
  const { id, type, env: variable } = fields;
  if (id === undefined || id === '') throw usageError(`invalid --secret ${JSON.stringify(text)}: it has no id`, example);
  if (type !== undefined && type !== 'file' && type !== 'env')
    throw usageError(`invalid --secret type "${type}"`, 'Types are file and env.');
  const source = fields.src ?? fields.source;
  const name = variable ?? (type === 'env' ? (source ?? id) : source === undefined && env[id] !== undefined ? id : undefined);
  if (name === undefined) return [id, readBytes(source ?? id).toString('base64')];
  const value = env[name];
  if (value === undefined) throw usageError(`the variable ${name} of --secret id=${id} is not set`);
  return [id, Buffer.from(value).toString('base64')];
}

function secretFields(text: string): Partial<Record<string, string>> {
  return parseFields(text, '--secret', ['id', 'type', 'src', 'source', 'env', 'invalidate'], ['invalidate']);
}

/** Whether the steps that mount it are to run again when the value is another one. */
function isFlagged({ invalidate }: Partial<Record<string, string>>): boolean {
  if (invalidate === undefined || invalidate === 'true' || invalidate === 'false') return invalidate === 'true';
  throw usageError(`invalid --secret: invalidate takes true or false, not ${JSON.stringify(invalidate)}`);
}

const example = 'Secrets look like id=token,src=FILE or id=token,env=TOKEN.';

function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw cannot('read the secret', path, error);
  }
}

/** `default` or `ID[=SOCKET]`; without a socket it is that of SSH_AUTH_SOCK. */
function findAgent(text: string, env: NodeJS.ProcessEnv): [id: string, socket: SharedContext] {
  const [id, given] = cut(text);
  if (id === '')
    throw usageError(`invalid --ssh ${JSON.stringify(text)}: it has no id`, 'Agents look like default or work=/run/agent.sock.');
  const path = given ?? env.SSH_AUTH_SOCK;
  if (path === undefined || path === '') {
    throw usageError(
      'there is no ssh agent: SSH_AUTH_SOCK is not set',
      'Start one with ssh-agent, or name its socket: --ssh default=SOCKET.',
    );
  }
  const found = describe(path, 'use the ssh agent');
  if (!found.isSocket) throw usageError(`${path} is not the socket of an ssh agent`, 'Keys are added to an agent: ssh-add FILE.');
  return [id, found.shared];
}

/** `NAME=FOLDER`, `NAME=docker-image://IMAGE`, or `NAME=URL` of an archive or a git repository. */
function namedContext(text: string): [name: string, context: { folder: SharedContext } | { image: string } | { url: string }] {
  const [name, value] = cut(text);
  if (name === '' || value === undefined || value === '') {
    throw usageError(
      `invalid --build-context ${JSON.stringify(text)}`,
      'Contexts look like NAME=FOLDER, NAME=docker-image://IMAGE or NAME=URL.',
    );
  }
  const image = /^docker-image:\/\/(.+)$/.exec(value)?.[1];
  if (image !== undefined) return [name, { image }];
  if (/^(?:https?|git|ssh):\/\/|^[\w-]+@[\w.-]+:/.test(value)) return [name, { url: value }];
  if (/^[a-z-]+:\/\//.test(value)) throw usageError(`cannot use ${value} as a build context`);
  const found = describe(value, 'use the build context');
  if (!found.isDirectory) throw usageError(`the build context ${value} is not a folder`);
  return [name, { folder: found.shared }];
}

function describe(path: string, what: string): { shared: SharedContext; isSocket: boolean; isDirectory: boolean } {
  const full = resolve(path);
  try {
    const stats = statSync(full);
    return { shared: { path: full, dev: stats.dev, ino: stats.ino }, isSocket: stats.isSocket(), isDirectory: stats.isDirectory() };
  } catch (error) {
    throw cannot(what, path, error);
  }
}

function parseFields(
  text: string,
  flag: string,
  known: readonly string[],
  switches: readonly string[] = [],
): Partial<Record<string, string>> {
  const fields: Partial<Record<string, string>> = {};
  for (const part of text.split(',')) {
    const [key, given] = cut(part);
    const value = given ?? (switches.includes(key) ? 'true' : undefined);
    if (!known.includes(key) || value === undefined)
      throw usageError(`invalid ${flag} ${JSON.stringify(text)}: ${JSON.stringify(part)}`, example);
    fields[key] = value;
  }
  return fields;
}
