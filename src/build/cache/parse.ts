import { isAbsolute } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import { parseReference } from '../../oci/reference.ts';
import type { CacheExport, CacheLocation, S3Credentials } from '../port.ts';

export type CacheAttributes = Readonly<Partial<Record<string, string>>>;

/** Of BuildKit's attributes; the others there are for its own form of caches. */
const common = ['type'];
const ofExports = [
  'mode',
  'mounts',
  'ignore-error',
  'compression',
  'compression-level',
  'force-compression',
  'oci-mediatypes',
  'image-manifest',
];
const known: Record<CacheLocation['kind'], readonly string[]> = {
  local: ['src', 'dest', 'tag', 'digest'],
  registry: ['ref', 'registry.insecure'],
  s3: [
    'bucket',
    'region',
    'prefix',
    'name',
    'endpoint_url',
    'use_path_style',
    'access_key_id',
    'secret_access_key',
    'session_token',
    'blobs_prefix',
    'manifests_prefix',
    'upload_parallelism',
    'touch_refresh',
  ],
};

/**
 * A cache to read, by the attributes of BuildKit's `--cache-from`. Paths are the daemon's. InvalidArgument `CACHE_OPTION_INVALID` names the attribute; Unsupported `CACHE_TYPE_UNSUPPORTED` for
 * kinds that are not served.
 */
export function parseCacheImport(attributes: CacheAttributes): CacheLocation {
  const kind = kindOf(attributes);
  checkNames(attributes, kind, []);
  return locationOf(attributes, kind, 'src');
}

/** A cache to write, by the attributes of BuildKit's `--cache-to`. Errors as above. */
export function parseCacheExport(attributes: CacheAttributes): CacheExport {
  const kind = kindOf(attributes);
  checkNames(attributes, kind, ofExports);
  const { mode = 'min' } = attributes;
  if (mode !== 'min' && mode !== 'max') throw invalid(`mode is min or max, not "${shown(mode)}"`);
  const ignoreError = booleanOf(attributes, 'ignore-error');
  const mounts = booleanOf(attributes, 'mounts');
  return {
    ...locationOf(attributes, kind, 'dest'),
    mode,
    ...(ignoreError === undefined ? {} : { ignoreError }),
    ...(mounts === undefined ? {} : { mounts }),
  };
}

function kindOf({ type }: CacheAttributes): CacheLocation['kind'] {
  if (type === 'local' || type === 'registry' || type === 's3') return type;
  if (type === undefined || type === '') throw invalid('a cache needs a type: local, registry or s3');
  const why =
    type === 'inline'
      ? 'An image carries no cache here; give the cache a place of its own: type=registry,ref=… beside the image.'
      : 'Types are local, registry and s3.';
  throw new EngineError('Unsupported', 'CACHE_TYPE_UNSUPPORTED', `caches of the type "${shown(type)}" are not supported`, { hint: why });
}

function checkNames(attributes: CacheAttributes, kind: CacheLocation['kind'], more: readonly string[]): void {
  const names = [...common, ...known[kind], ...more];
  const unknown = Object.keys(attributes).find((name) => !names.includes(name));
  if (unknown !== undefined) throw invalid(`a cache of the type ${kind} has no attribute "${shown(unknown)}"`);
}

function locationOf(attributes: CacheAttributes, kind: CacheLocation['kind'], side: 'src' | 'dest'): CacheLocation {
  if (kind === 'local') {
    const path = required(attributes, side, kind);
    if (!isAbsolute(path)) throw invalid(`${side}=${shown(path)} is not an absolute path of the daemon's host`);
    return { kind, path, ...optional('tag', attributes.tag) };
  }
  if (kind === 'registry') {
    const reference = required(attributes, 'ref', kind);
    parseReference(reference);
    return { kind, reference, ...optional('insecure', booleanOf(attributes, 'registry.insecure')) };
  }
  return {
    kind,
    bucket: bucketOf(required(attributes, 'bucket', kind)),
    prefix: attributes.prefix ?? '',
    ...optional('name', attributes.name),
    ...optional('region', attributes.region),
    ...optional('endpoint', endpointOf(attributes.endpoint_url)),
    ...optional('pathStyle', booleanOf(attributes, 'use_path_style')),
    ...optional('credentials', credentialsOf(attributes)),
  };
}

function credentialsOf(attributes: CacheAttributes): S3Credentials | undefined {
  const { access_key_id: accessKeyId, secret_access_key: secretAccessKey, session_token: sessionToken } = attributes;
  if (accessKeyId === undefined && secretAccessKey === undefined) return undefined;
  if (accessKeyId === undefined || secretAccessKey === undefined) throw invalid('access_key_id and secret_access_key come together');
  return { accessKeyId, secretAccessKey, ...optional('sessionToken', sessionToken) };
}

function bucketOf(name: string): string {
  if (/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/i.test(name)) return name;
  throw invalid(`"${shown(name)}" is not the name of a bucket`);
}

function endpointOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (URL.canParse(text) && /^https?:\/\//.test(text)) return text;
  throw invalid(`endpoint_url "${shown(text)}" is not an http or https address`);
}

function required(attributes: CacheAttributes, name: string, kind: string): string {
  const value = attributes[name];
  if (value === undefined || value === '') throw invalid(`a cache of the type ${kind} needs ${name}=…`);
  return value;
}

function booleanOf(attributes: CacheAttributes, name: string): boolean | undefined {
  const value = attributes[name];
  if (value === undefined) return undefined;
  if (value === 'true' || value === '1') return true;
  if (value === 'false' || value === '0') return false;
  throw invalid(`${name} is true or false, not "${shown(value)}"`);
}

function optional<K extends string, V>(name: K, value: V | undefined): { [_ in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { [_ in K]?: V });
}

function shown(text: string): string {
  return text.slice(0, 200);
}

function invalid(message: string): EngineError {
  return new EngineError('InvalidArgument', 'CACHE_OPTION_INVALID', message, {
    hint: 'Caches look like type=local,dest=DIR, type=registry,ref=NAME or type=s3,bucket=NAME,region=REGION.',
  });
}
