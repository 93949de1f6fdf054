import { randomBytes } from 'node:crypto';
import type { ExportRequest, SessionBuild } from '../buildkit/port.ts';
import { isPlainObject } from './decode.ts';
import { invalid, unsupported } from './errors.ts';
import type { Query } from './query.ts';

/** Where the context of a build comes from: the session, or a body that came (or comes) in a request of its own under the build's id. */
export type SessionBuildRequest = SessionBuild & { context: 'session' | 'upload' };

/**
 * POST /build?version=2, by which Docker's command line up to 22 asks for a build over a session: the parameters as the Dockerfile frontend has them
 * (moby daemon/builder/builder-next, Build).
 */
export function decodeSessionBuild(query: Query): SessionBuildRequest {
  const remote = query.string('remote') ?? '';
  const session = query.string('session');
  if (session === undefined) throw invalid('SESSION_MISSING', 'a build with version=2 needs the id of a session');
  const context = remote === 'upload-request' ? 'upload' : 'session';
  const frontendAttrs: Record<string, string> = {
    ...(remote === 'client-session' || remote === 'upload-request' || remote === '' ? {} : { context: remote }),
    ...pick(query, { target: 'target', dockerfile: 'filename', platform: 'platform', networkmode: 'force-network-mode' }),
    ...(query.boolean('nocache') ? { 'no-cache': '' } : {}),
    'image-resolve-mode': query.boolean('pull') ? 'pull' : 'default',
    'cgroup-parent': query.string('cgroupparent') ?? '',
    'shm-size': query.string('shmsize') === '0' ? '' : (query.string('shmsize') ?? ''),
    ulimit: ulimitAttr(query),
    'add-hosts': query.list('extrahosts').join(','),
    'cache-from': jsonList(query, 'cachefrom').join(','),
  };
  for (const [name, value] of jsonMap(query, 'buildargs')) frontendAttrs[`build-arg:${name}`] = value;
  for (const [name, value] of jsonMap(query, 'labels')) frontendAttrs[`label:${name}`] = value;
  return { ref: randomBytes(12).toString('hex'), session, frontendAttrs, exporters: [exporterOf(query)], context };
}

function pick(query: Query, names: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(names).flatMap(([name, attr]) => {
      const value = query.string(name);
      return value === undefined ? [] : [[attr, value]];
    }),
  );
}

function exporterOf(query: Query): ExportRequest {
  const outputs = query.json('outputs');
  const wanted = Array.isArray(outputs) ? outputs : [];
  if (wanted.length > 1) throw unsupported('BUILD_OUTPUTS_UNSUPPORTED', 'multiple outputs not supported');
  const output: unknown = wanted[0];
  const name = query.list('t').join(',');
  if (!isPlainObject(output)) return { type: 'moby', attrs: { name } };
  const type = String(output.Type ?? '');
  const attrs = isPlainObject(output.Attrs) ? Object.entries(output.Attrs).map(([key, value]) => [key, String(value)] as const) : [];
  return { type, attrs: { ...Object.fromEntries(attrs), ...(name !== '' && (type === 'image' || type === 'moby') ? { name } : {}) } };
}

function jsonMap(query: Query, name: string): [string, string][] {
  const json = query.json(name);
  if (json === undefined || json === null) return [];
  if (!isPlainObject(json)) throw invalid('PARAMETER_INVALID', `the parameter "${name}" must be a JSON object`);
  return Object.entries(json).flatMap(([key, value]): [string, string][] => (typeof value === 'string' ? [[key, value]] : []));
}

function jsonList(query: Query, name: string): string[] {
  const json = query.json(name);
  return Array.isArray(json) ? json.filter((item): item is string => typeof item === 'string') : [];
}

/** Docker's list of objects as BuildKit's attribute: `nofile=1024:2048,nproc=64:64`. */
function ulimitAttr(query: Query): string {
  const json = query.json('ulimits');
  if (!Array.isArray(json)) return '';
  return json.map((item) => (isPlainObject(item) ? `${item.Name}=${item.Soft}:${item.Hard}` : String(item))).join(',');
}
