import { posix } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import type { BuildRequest } from '../../build/port.ts';
import { parseAttestation } from '../../oci/attest-options.ts';
import { isUpload } from '../session/upload.ts';
import { decodeStepAttrs, stepAttrs } from './step-attrs.ts';

/** What a client asks of the Dockerfile frontend: `FrontendAttrs` of a solve (buildkit frontend/dockerui/config.go and frontend/dockerfile). */
export type FrontendRequest = {
  build: Omit<BuildRequest, 'context' | 'tags' | 'output' | 'dockerfile'>;
  /** Path of the Dockerfile in its folder. */
  filename: string;
  /** Names of the folders that the session offers. */
  contextName: string;
  dockerfileName: string;
  /** The Dockerfile comes from the session though the context does not. */
  ownDockerfile: boolean;
  /** Address of the context as a tar that the session serves. */
  upload?: string;
  /** What names in the Dockerfile stand for. A folder is one that the session offers under that name. */
  contexts: Readonly<Record<string, NamedSource>>;
  /** What is asked for and has no effect, for people. */
  warnings: string[];
};

export type NamedSource =
  | { kind: 'local'; name: string }
  | { kind: 'image'; reference: string }
  | { kind: 'remote'; url: string }
  | { kind: 'input'; name: string };

type Attrs = Readonly<Record<string, string>>;

/** Options that say how to find or show things here and change nothing in what is built. */
const harmless = new Set([
  'cmdline',
  'contextkey',
  'dockerfilekey',
  'filename',
  'frontend.caps',
  'image-resolve-mode',
  'linter',
  'multi-platform',
  'no-cache',
  'platform',
  'source',
  'target',
  'cache-from',
  'cache-imports',
  'build-arg-present',
]);

const withoutEffect: Readonly<Record<string, string>> = {
  'cgroup-parent': 'steps have a control group of their own',
  hostname: 'steps have the host name that the engine gives them',
};

export function decodeFrontend(attrs: Attrs): FrontendRequest {
  const warnings: string[] = [];
  const { context = '' } = attrs;
  if (context !== '' && !isUpload(context)) throw remoteContext(context);
  refuseSubrequest(attrs.requestid);
  const noCache = attrs['no-cache'];
  const labels = prefixed(attrs, 'label:');
  const build: FrontendRequest['build'] = {
    buildArgs: prefixed(attrs, 'build-arg:'),
    labels,
    noCache: noCache === '',
    timestamps: 'first',
    networkMode: networkModeOf(attrs['force-network-mode']),
    pull: attrs['image-resolve-mode'] === 'pull',
    ...decodeStepAttrs(attrs),
    ...(attrs.target === undefined || attrs.target === '' ? {} : { target: attrs.target }),
    ...(attrs.platform === undefined || attrs.platform === '' ? {} : { platform: attrs.platform }),
  };
  if (noCache !== undefined && noCache !== '') build.noCacheFilter = noCache.split(',').filter((name) => name !== '');
  const attested = Object.entries(prefixed(attrs, 'attest:'));
  const attestations = Object.assign({}, ...attested.map(([type, value]) => parseAttestation(type, value)));
  if (Object.keys(attestations).length > 0) build.attestations = attestations;
  for (const [name, value] of Object.entries(attrs)) warnings.push(...judge(name, value));
  return {
    build,
    filename: posix.normalize(attrs.filename ?? 'Dockerfile'),
    contextName: attrs.contextkey ?? 'context',
    dockerfileName: attrs.dockerfilekey ?? 'dockerfile',
    ownDockerfile: attrs.dockerfilekey !== undefined,
    ...(context === '' ? {} : { upload: context }),
    contexts: Object.fromEntries(
      Object.entries(prefixed(attrs, 'context:')).map(([name, value]) => [nameOf(name), namedSource(name, value)]),
    ),
    warnings,
  };
}

function judge(name: string, value: string): string[] {
  if (
    value === '' ||
    harmless.has(name) ||
    stepAttrs.has(name) ||
    /^(build-arg|label|context|input-metadata|sharedkey|vcs|localsessionid|context-digest|attest):/.test(name)
  )
    return [];
  const why = withoutEffect[name];
  if (why !== undefined) return [`the option "${name}" has no effect: ${why}`];
  if (name === 'context' || name === 'force-network-mode' || name === 'requestid') return [];
  return [`the option "${name}" is not known and has no effect`];
}

/** A platform after the name (`base::linux/amd64`) is for builds of several. */
function nameOf(name: string): string {
  return name.split('::')[0] ?? name;
}

function namedSource(name: string, value: string): NamedSource {
  const [scheme = '', ...rest] = value.split(':');
  const address = rest.join(':');
  if (scheme === 'local') return { kind: 'local', name: address };
  if (scheme === 'input') return { kind: 'input', name: address };
  if (scheme === 'docker-image') return { kind: 'image', reference: address.replace(/^\/\//, '') };
  if (['http', 'https', 'git', 'ssh'].includes(scheme) || /^[^/]+@[^/]+$/.test(scheme)) return { kind: 'remote', url: value };
  throw new EngineError(
    'Unsupported',
    'BUILD_CONTEXTS_UNSUPPORTED',
    `the named context ${name} is of a kind that is not supported: ${value.slice(0, 200)}`,
  );
}

function prefixed(attrs: Attrs, prefix: string): Record<string, string> {
  const found = Object.entries(attrs).flatMap(([name, value]) =>
    name.startsWith(prefix) ? [[name.slice(prefix.length), value] as const] : [],
  );
  return Object.fromEntries(found);
}

function networkModeOf(mode: string | undefined): 'default' | 'none' | 'host' {
  if (mode === undefined || mode === '' || mode === 'default' || mode === 'sandbox') return 'default';
  if (mode === 'none' || mode === 'host') return mode;
  throw new EngineError('Unsupported', 'BUILD_NETWORK_UNSUPPORTED', `RUN steps cannot use the network "${mode.slice(0, 50)}"`, {
    hint: 'Use default, none or host.',
  });
}

/** Questions about a Dockerfile in place of a build of it (`--call`, `--print`). Clients know this answer by its first words. */
function refuseSubrequest(name: string | undefined): void {
  if (name === undefined || name === '') return;
  throw new EngineError('Unsupported', 'SUBREQUEST_UNSUPPORTED', `unsupported request ${name}`);
}

function remoteContext(context: string): EngineError {
  return new EngineError('Unsupported', 'BUILD_REMOTE_UNSUPPORTED', `the build context ${context.slice(0, 200)} is not supported`, {
    hint: 'Fetch it and build from the folder.',
  });
}
