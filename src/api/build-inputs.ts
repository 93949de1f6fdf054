import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { isAbsolute } from 'node:path';
import { type Duplex, Readable } from 'node:stream';
import { EngineError } from '../base/errors.ts';
import { parseCacheExport, parseCacheImport } from '../build/cache/port.ts';
import { type BuildRequest, GivenSecrets, type NamedContext, type SshAgents } from '../build/port.ts';
import type { BuildContexts } from './build-contexts.ts';
import type { CarriedAgents } from './carried-agents.ts';
import { integer, list, object, record, requireField, string } from './decode.ts';
import { invalid } from './errors.ts';

/** How long inputs wait for their build. */
const keptMs = 10 * 60_000;
const most = 64;
const maxBytes = 16 * 1024 * 1024;

type Inputs = Pick<BuildRequest, 'secrets' | 'invalidateSecrets' | 'ssh' | 'contexts' | 'cacheFrom' | 'cacheTo'>;
type Kept = { readonly inputs: Inputs; readonly timer: NodeJS.Timeout };
/** What clients send that the daemon does not see: trees, and connections to ssh agents. */
type Sent = { readonly contexts: Pick<BuildContexts, 'context'>; readonly agents: Pick<CarriedAgents, 'connect'> };
type Shared = { path: string; dev: number; ino: number };

const shared = object({ path: string, dev: integer, ino: integer });
const shape = object({
  secrets: record(string),
  invalidate: list(string),
  ssh: record(object({ path: string, dev: integer, ino: integer, carried: string })),
  contexts: record(object({ folder: shared, image: string, url: string, tree: string })),
  caches: object({ from: list(record(string)), to: list(record(string)) }),
});

/**
 * Secrets, ssh agents, named contexts and caches, whose credentials are secrets too, between their coming in and the build that names them (docs/formats/api.md). In memory only: they are in no header and no query, which proxies
 * and authorization plugins see, and are forgotten when the time is over.
 */
export class BuildInputs {
  readonly #kept = new Map<string, Kept>();
  readonly #sent: Sent;

  constructor(sent: Sent) {
    this.#sent = sent;
  }

  /** Gives the id by which a build is to name them. */
  async receive(body: unknown): Promise<string> {
    const inputs = await decodeInputs(await readJson(body), this.#sent);
    const oldest = this.#kept.keys().next();
    if (this.#kept.size >= most && !oldest.done) this.#forget(oldest.value);
    const id = randomBytes(16).toString('hex');
    this.#kept.set(id, { inputs, timer: setTimeout(() => this.#kept.delete(id), keptMs).unref() });
    return id;
  }

  /** NotFound when they never were, or came too long ago. They may be asked for again: a client whose folder the daemon does not see sends its build twice. */
  get(id: string | undefined): Inputs {
    if (id === undefined) return {};
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept.inputs;
    throw new EngineError('NotFound', 'BUILD_INPUTS_NOT_FOUND', `there are no build inputs ${id.slice(0, 100)}`, {
      hint: `Send them again: they are kept for ${keptMs / 60_000} minutes.`,
    });
  }

  #forget(id: string): void {
    clearTimeout(this.#kept.get(id)?.timer);
    this.#kept.delete(id);
  }
}

async function readJson(body: unknown): Promise<unknown> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of body instanceof Readable ? body : []) {
    bytes += (piece as Buffer).length;
    if (bytes > maxBytes) throw invalid('BUILD_INPUTS_TOO_LARGE', `the inputs of a build have more than ${maxBytes} bytes`);
    pieces.push(piece as Buffer);
  }
  try {
    return JSON.parse(Buffer.concat(pieces).toString('utf8'));
  } catch {
    // What the parser says may quote a secret.
    throw invalid('BUILD_INPUTS_INVALID', 'the inputs of a build are not JSON');
  }
}

async function decodeInputs(json: unknown, sent: Sent): Promise<Inputs> {
  const given = shape(json, 'inputs');
  const secrets = Object.entries(given.secrets ?? {}).map(([id, value]) => [id, Buffer.from(value, 'base64')] as const);
  const contexts: [string, NamedContext][] = [];
  for (const [name, context] of Object.entries(given.contexts ?? {}))
    contexts.push([name, context.tree === undefined ? await namedContext(name, context) : sent.contexts.context(context.tree)]);
  return {
    ...(secrets.length === 0 ? {} : { secrets: new GivenSecrets(secrets) }),
    ...(given.invalidate === undefined || given.invalidate.length === 0 ? {} : { invalidateSecrets: given.invalidate }),
    ...(given.ssh === undefined ? {} : { ssh: await givenAgents(given.ssh, sent) }),
    ...(contexts.length === 0 ? {} : { contexts: Object.fromEntries(contexts) }),
    ...(given.caches?.from === undefined ? {} : { cacheFrom: given.caches.from.map(parseCacheImport) }),
    ...(given.caches?.to === undefined ? {} : { cacheTo: given.caches.to.map(parseCacheExport) }),
  };
}

async function namedContext(
  name: string,
  { folder, image, url }: { folder?: Partial<Shared>; image?: string; url?: string },
): Promise<NamedContext> {
  if (image !== undefined) return { kind: 'image', reference: image };
  if (url !== undefined) return { kind: 'remote', url };
  const field = `contexts.${name}.folder`;
  return { kind: 'directory', path: await seen(requireField(folder, field), field, 'isDirectory') };
}

/** Agents whose sockets the daemon sees at the same place as the client, and those that the client carries over. */
async function givenAgents(given: Readonly<Record<string, Partial<Shared> & { carried?: string }>>, { agents }: Sent): Promise<SshAgents> {
  const found = new Map<string, () => Promise<Duplex>>();
  for (const [id, { carried, ...socket }] of Object.entries(given)) {
    const path = carried === undefined ? await seen(socket, `ssh.${id}`, 'isSocket') : '';
    found.set(id, () => (carried === undefined ? connectTo(path) : agents.connect(carried)));
  }
  return { connect: async (id) => found.get(id)?.() };
}

async function connectTo(path: string): Promise<Duplex> {
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

async function seen(given: Partial<Shared>, field: string, kind: 'isDirectory' | 'isSocket'): Promise<string> {
  const path = requireField(given.path, `${field}.path`);
  if (!isAbsolute(path)) throw invalid('FIELD_INVALID', `${field}.path is not absolute: "${path.slice(0, 200)}"`);
  const stats = await stat(path).catch(() => undefined);
  if (stats?.[kind]() === true && stats.dev === given.dev && stats.ino === given.ino) return path;
  throw new EngineError('Unsupported', 'BUILD_INPUT_NOT_SHARED', `the daemon does not see ${path} of the client`, {
    hint: kind === 'isSocket' ? 'Carry the agent over.' : 'Send the folder.',
  });
}
