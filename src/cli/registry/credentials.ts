import { EngineError, isErrno } from '../../base/errors.ts';
import { type DockerConfig, readConfig, writeConfig } from './config-file.ts';

export type Credentials = { username: string; password: string; identityToken: string };

/** Docker Hub's name among credentials, as every tool that shares the file has it. */
export const hubAddress = 'https://index.docker.io/v1/';

/** What a helper answers for a user name when the secret is a token and no password. */
const tokenUser = '<token>';

/**
 * Credentials of registries, kept where Docker's command line keeps them: by the helper that config.json names (`credHelpers`, `credsStore`), else in config.json
 * itself. DOCKER_AUTH_CONFIG, the same JSON in a variable, comes before both when reading.
 */
export class CredentialStore {
  readonly path: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(path: string, env: NodeJS.ProcessEnv) {
    this.path = path;
    this.#env = env;
  }

  /** The helper's name for a registry; undefined when credentials lie in the file, which is not encrypted. */
  helperOf(server: string): string | undefined {
    const { credHelpers, credsStore } = readConfig(this.path);
    return credHelpers?.[hostOf(server)] || credHelpers?.[server] || credsStore || undefined;
  }

  get(server: string): Credentials | undefined {
    const given = this.#fromEnvironment(server);
    if (given !== undefined) return given;
    const helper = this.helperOf(server);
    if (helper !== undefined) return this.#askHelper(helper, server);
    const { auths = {} } = readConfig(this.path);
    const key = [server, ...spellings(server)].find((each) => auths[each] !== undefined);
    return key === undefined ? undefined : decode(auths[key] ?? {}, `${this.path}, auths.${key}`);
  }

  /** Registries for which there may be credentials. */
  servers(): string[] {
    const { auths = {}, credHelpers = {} } = readConfig(this.path);
    const { credsStore } = readConfig(this.path);
    const given = this.#env.DOCKER_AUTH_CONFIG;
    const fromEnvironment = given === undefined || given === '' ? [] : Object.keys((JSON.parse(given) as DockerConfig).auths ?? {});
    const listed = credsStore === undefined || credsStore === '' ? [] : listHelper(credsStore);
    return [...new Set([...fromEnvironment, ...Object.keys(auths), ...Object.keys(credHelpers), ...listed])];
  }

  store(server: string, { username, password, identityToken }: Credentials): void {
    const helper = this.helperOf(server);
    const config = readConfig(this.path);
    const entry: { auth?: string; identitytoken?: string } = {};
    if (helper === undefined) {
      if (identityToken !== '') entry.identitytoken = identityToken;
      entry.auth = Buffer.from(`${username}:${identityToken === '' ? password : ''}`).toString('base64');
    } else {
      const [Username, Secret] = identityToken === '' ? [username, password] : [tokenUser, identityToken];
      runHelper(helper, 'store', JSON.stringify({ ServerURL: server, Username, Secret }));
    }
    writeConfig(this.path, { ...config, auths: { ...config.auths, [server]: entry } });
  }

  /** Whether there was anything to erase. */
  erase(server: string): boolean {
    const names = [...new Set([server, ...spellings(server)])];
    const helper = this.helperOf(server);
    let found = false;
    if (helper !== undefined) {
      for (const name of names) {
        if (this.#askHelper(helper, name) === undefined) continue;
        runHelper(helper, 'erase', name);
        found = true;
      }
    }
    const config = readConfig(this.path);
    const auths = Object.entries(config.auths ?? {});
    const kept = auths.filter(([name]) => !names.includes(name));
    if (kept.length === auths.length) return found;
    writeConfig(this.path, { ...config, auths: Object.fromEntries(kept) });
    return true;
  }

  #fromEnvironment(server: string): Credentials | undefined {
    const text = this.#env.DOCKER_AUTH_CONFIG;
    if (text === undefined || text === '') return undefined;
    let auths: Record<string, { auth?: string }>;
    try {
      ({ auths = {} } = JSON.parse(text) as { auths?: Record<string, { auth?: string }> });
    } catch (cause) {
      throw new EngineError('InvalidArgument', 'CONFIG_INVALID', 'DOCKER_AUTH_CONFIG is not JSON', { cause });
    }
    const key = [server, ...spellings(server)].find((each) => auths[each] !== undefined);
    return key === undefined ? undefined : decode(auths[key] ?? {}, `DOCKER_AUTH_CONFIG, auths.${key}`);
  }

  #askHelper(helper: string, server: string): Credentials | undefined {
    const answer = runHelper(helper, 'get', server);
    if (answer === undefined) return undefined;
    const { Username: username = '', Secret: secret = '' } = JSON.parse(answer) as { Username?: string; Secret?: string };
    return username === tokenUser
      ? { username: '', password: '', identityToken: secret }
      : { username, password: secret, identityToken: '' };
  }
}

/** `https://registry.example.com/v1/` is kept under its host's name, too. */
export function hostOf(server: string): string {
  return server.replace(/^https?:\/\//, '').split('/')[0] ?? server;
}

/** Names under which older tools may have kept the same registry. */
function spellings(server: string): string[] {
  const host = hostOf(server);
  return server === hubAddress ? [] : [host, `https://${host}`, `http://${host}`];
}

function decode(entry: { auth?: string; identitytoken?: string }, where: string): Credentials {
  const text = Buffer.from(entry.auth ?? '', 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (entry.auth && colon <= 0)
    throw new EngineError('InvalidArgument', 'CONFIG_INVALID', `${where}: "auth" is not base64 of USER:PASSWORD`);
  return { username: text.slice(0, Math.max(0, colon)), password: text.slice(colon + 1), identityToken: entry.identitytoken ?? '' };
}

/** The servers of a helper's `list`; none when it cannot tell. */
function listHelper(name: string): string[] {
  try {
    return Object.keys(JSON.parse(runHelper(name, 'list', '') ?? '{}') as Record<string, string>);
  } catch {
    return [];
  }
}

/**
 * Runs `docker-credential-NAME` (https://github.com/docker/docker-credential-helpers). undefined: it has no such credentials. Throws Unavailable
 * `CREDENTIAL_HELPER` with what it said.
 */
function runHelper(name: string, verb: 'get' | 'store' | 'erase' | 'list', input: string): string | undefined {
  const program = `docker-credential-${name}`;
  const { status, stdout, stderr, error } = process
    .getBuiltinModule('node:child_process')
    .spawnSync(program, [verb], { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
  if (isErrno(error, 'ENOENT')) {
    throw new EngineError('Unavailable', 'CREDENTIAL_HELPER', `${program} is not in PATH, and config.json names it for credentials`, {
      hint: 'Install it, or take it out of credsStore and credHelpers.',
      cause: error,
    });
  }
  if (error === undefined && status === 0) return stdout;
  const said = `${stdout ?? ''}${stderr ?? ''}`.trim() || String(error ?? `it ended with status ${status}`);
  if (verb === 'get' && /credentials not found/i.test(said)) return undefined;
  throw new EngineError('Unavailable', 'CREDENTIAL_HELPER', `${program} ${verb} failed: ${said}`);
}
