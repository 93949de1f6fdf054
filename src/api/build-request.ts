import { stat } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { isAbsolute } from 'node:path';
import { EngineError } from '../base/errors.ts';
import type { BuildContext, BuildRequest } from '../build/port.ts';
import { parseAttestation } from '../oci/attest-options.ts';
import { canonical, parseReference, withDefaultTag } from '../oci/reference.ts';
import type { BuildContexts } from './build-contexts.ts';
import { decodeSteps } from './build-steps.ts';
import { integer, isPlainObject, list, nullable, object, record, requireField, string } from './decode.ts';
import { invalid, unsupported } from './errors.ts';
import type { Query } from './query.ts';
import { authFor, decodeRegistryConfig } from './registry-auth.ts';

/** The parameters of POST /build; the context comes apart, from the body or from `sharedContext`. */
export function decodeBuild(query: Query, headers: IncomingHttpHeaders): Omit<BuildRequest, 'context'> {
  if (query.string('remote') !== undefined) {
    throw unsupported('BUILD_REMOTE_UNSUPPORTED', 'a remote build context is not supported', 'Fetch it and build from the folder.');
  }
  const version = query.string('version') ?? '1';
  if (version === '2') {
    throw unsupported('BUILDKIT_SESSION_UNSUPPORTED', 'BuildKit sessions are not served', 'Set DOCKER_BUILDKIT=0, or use "slipway build".');
  }
  if (version !== '1') throw invalid('PARAMETER_INVALID', `invalid version "${version.slice(0, 100)}"`);
  const target = query.string('target');
  const platform = query.string('platform');
  const auths = decodeRegistryConfig(headers['x-registry-config']);
  return {
    dockerfile: dockerfileOf(query, headers),
    buildArgs: stringMap(query, 'buildargs'),
    labels: stringMap(query, 'labels'),
    tags: query.list('t').map((tag) => canonical(withDefaultTag(parseReference(tag)))),
    noCache: query.boolean('nocache'),
    ...cachingOf(query),
    ...attestationsOf(query),
    ...decodeSteps(query),
    timestamps: timestampsOf(query),
    networkMode: networkModeOf(query),
    output: outputOf(query),
    ...(query.boolean('pull') ? { pull: true } : {}),
    ...(auths.size === 0 ? {} : { authFor: (reference) => authFor(auths, reference) }),
    ...(target === undefined ? {} : { target }),
    ...(platform === undefined ? {} : { platform }),
  };
}

function outputOf(query: Query): BuildRequest['output'] {
  const kind = query.string('slipwayOutput');
  return { kind: kind === 'tree' || kind === 'check' ? kind : 'image' };
}

/** Parameters that change nothing in what is built here. */
const withoutEffect = {
  cgroupparent: 'steps have a control group of their own',
  cachefrom:
    'results are found by content, and an image carries none of them; caches of other hosts are read with "slipway build --cache-from" and buildx',
  squash: 'an image is one tree in any case',
} as const;

/** Warnings for what a build asks for and does not get. Throws for what would make it another build than was asked for. */
export function checkIgnored(query: Query, speaks: (version: string) => boolean): string[] {
  const isolation = query.string('isolation');
  if (isolation !== undefined && isolation.toLowerCase() !== 'default') {
    throw invalid('PARAMETER_INVALID', `unsupported isolation: "${isolation.slice(0, 100)}"`);
  }
  if (query.list('securityopt').length > 0) throw invalid('PARAMETER_INVALID', 'security options are not supported on linux');
  const outputs = speaks('1.40') ? query.json('outputs') : undefined;
  if (Array.isArray(outputs) ? outputs.length > 0 : outputs !== undefined && outputs !== null) {
    throw unsupported('BUILD_OUTPUTS_UNSUPPORTED', 'outputs is not supported by the classic builder', 'Use "slipway build --output".');
  }
  return Object.entries(withoutEffect).flatMap(([name, why]) =>
    isAsked(query, name) ? [`the parameter "${name}" has no effect: ${why}`] : [],
  );
}

function isAsked(query: Query, name: string): boolean {
  const text = query.string(name);
  return text !== undefined && !['0', 'false', '[]', 'null', '{}'].includes(text);
}

/** What `X-Slipway-Context` names: a folder, once it is known to be the one that the client sees, or a tree that was sent; undefined without the header. */
export async function sharedContext(
  headers: IncomingHttpHeaders,
  contexts: Pick<BuildContexts, 'context'>,
): Promise<BuildContext | undefined> {
  const header = headers['x-slipway-context'];
  if (header === undefined) return undefined;
  const given = parseContextHeader(String(header));
  if ('tree' in given) return contexts.context(given.tree);
  const { path, dev, ino } = given;
  const seen = await stat(path).catch(() => undefined);
  if (seen === undefined || !seen.isDirectory() || seen.dev !== dev || seen.ino !== ino) {
    throw new ContextNotShared(path);
  }
  return { kind: 'directory', path };
}

/** Answered with 412: the client then sends a tar. */
export class ContextNotShared extends EngineError {
  readonly statusCode = 412;
  constructor(path: string) {
    super('InvalidArgument', 'CONTEXT_NOT_SHARED', `the daemon does not see the folder ${path} of the client`, {
      hint: 'Send the context as a tar.',
    });
  }
}

function parseContextHeader(text: string): { tree: string } | { path: string; dev: number; ino: number } {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw invalid('HEADER_INVALID', 'the header X-Slipway-Context is not JSON');
  }
  const given = object({ path: string, dev: integer, ino: integer, tree: string })(json, 'X-Slipway-Context');
  if (given.tree !== undefined) return { tree: given.tree };
  const path = requireField(given.path, 'X-Slipway-Context.path');
  if (!isAbsolute(path)) throw invalid('HEADER_INVALID', `X-Slipway-Context.path is not absolute: "${path.slice(0, 200)}"`);
  return { path, dev: requireField(given.dev, 'X-Slipway-Context.dev'), ino: requireField(given.ino, 'X-Slipway-Context.ino') };
}

function dockerfileOf(query: Query, headers: IncomingHttpHeaders): BuildRequest['dockerfile'] {
  const path = query.string('dockerfile') ?? 'Dockerfile';
  const header = headers['x-slipway-dockerfile'];
  if (header === undefined) return { path };
  return { text: Buffer.from(String(header), 'base64').toString('utf8'), name: path };
}

/** A JSON map of strings; a null value (an ARG that takes the client's environment, where it is unset) is left out. */
function stringMap(query: Query, name: string): Record<string, string> {
  const json = query.json(name);
  if (json === undefined || json === null) return {};
  if (!isPlainObject(json)) throw invalid('PARAMETER_INVALID', `the parameter "${name}" must be a JSON object`);
  const values = record(nullable(string))(json, name);
  return Object.fromEntries(Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== null));
}

/** `attests`: a JSON map, as docker's own options have it: `{"provenance": "mode=max", "sbom": ""}`. */
function attestationsOf(query: Query): Pick<BuildRequest, 'attestations'> {
  const entries = Object.entries(stringMap(query, 'attests'));
  const attestations = Object.assign({}, ...entries.map(([type, text]) => parseAttestation(type, text)));
  return Object.keys(attestations).length === 0 ? {} : { attestations };
}

/** `nocachefilter`: names, repeated. `cachettl`: `[{"name": STAGE, "ms": 3600000}]`. */
function cachingOf(query: Query): Pick<BuildRequest, 'noCacheFilter' | 'cacheTtls'> {
  const filter = query.list('nocachefilter');
  const json = query.json('cachettl');
  const ttls = json === undefined ? [] : list(object({ name: string, ms: integer }))(json, 'cachettl');
  const cacheTtls = ttls.map(({ name, ms }, index) => {
    const given = requireField(ms, `cachettl[${index}].ms`);
    if (given < 0) throw invalid('PARAMETER_INVALID', `the parameter "cachettl" has a negative duration: ${given}`);
    return { ms: given, ...(name === undefined ? {} : { name }) };
  });
  return { ...(filter.length === 0 ? {} : { noCacheFilter: filter }), ...(cacheTtls.length === 0 ? {} : { cacheTtls }) };
}

function timestampsOf(query: Query): BuildRequest['timestamps'] {
  const value = query.string('timestamps') ?? 'first';
  if (value === 'first' || value === 'source' || value === 'epoch') return value;
  throw invalid('PARAMETER_INVALID', `the parameter "timestamps" is "${value.slice(0, 50)}"; expected first, source or epoch`);
}

function networkModeOf(query: Query): 'default' | 'none' | 'host' {
  const value = query.string('networkmode') ?? 'default';
  if (value === 'default' || value === 'none' || value === 'host') return value;
  if (value === 'bridge') return 'default';
  throw unsupported('BUILD_NETWORK_UNSUPPORTED', `RUN steps cannot use the network "${value.slice(0, 50)}"`, 'Use default, none or host.');
}
