import { sha256 } from '../../oci/digest.ts';
import type { Store } from '../../store/port.ts';
import { withoutCredentials } from '../dockerfile/remote.ts';
import { reachable } from '../graph/reachable.ts';
import type { Graph, RunOperation, Vertex, VertexId } from '../graph/vertex.ts';
import type { BuildRequest } from '../port.ts';
import { solvedOf } from '../solver/results.ts';
import type { Solution } from '../solver/solver.ts';
import { imageUrl, type Predicate, provenanceType } from './model.ts';

export type DigestSet = Readonly<Record<string, string>>;

export type ProvenanceInput = {
  readonly request: BuildRequest;
  readonly mode: 'min' | 'max';
  /** The Dockerfile or build definition. */
  readonly definition: { readonly name: string; readonly text: string };
  readonly graph: Graph;
  readonly target: VertexId;
  readonly solution: Solution;
  /** What fetched sources are, by vertex: of URLs the digest of the bytes, of repositories the commit. */
  readonly sources: ReadonlyMap<VertexId, DigestSet>;
  /** `os/architecture`. */
  readonly platform: string;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  readonly invocation: string;
};

type Dependency = { readonly uri: string; readonly digest?: DigestSet | undefined; readonly name?: string | undefined };

/**
 * SLSA provenance v1 (slsa.dev/spec/v1.0/provenance): what a build was made of and how; docs/formats/attestations.md says what each field has. `min` leaves out whatever a person wrote: values of build
 * arguments, the definition's text, commands. Values of secrets are in neither.
 */
export async function provenance(input: ProvenanceInput, store: Pick<Store, 'actions' | 'images'>): Promise<Predicate> {
  const vertices = reachable(input.graph, input.target);
  const { request, mode, definition, platform } = input;
  const predicate = {
    buildDefinition: {
      buildType: 'urn:slipway:build:v1',
      externalParameters: {
        configSource: { path: definition.name, digest: { sha256: sha256(definition.text) } },
        request: {
          frontend: request.frontend === 'definition' ? 'slipway.build.v1' : 'dockerfile.v0',
          platform,
          args: argumentsOf(request, mode),
          ...secretsOf(vertices, mode),
        },
      },
      internalParameters: {
        timestamps: request.timestamps,
        ...(mode === 'max' ? { buildConfig: { definition: definition.text, steps: vertices.map(stepOf) } } : {}),
      },
      resolvedDependencies: await dependencies(vertices, input, store),
    },
    runDetails: {
      builder: { id: 'urn:slipway:engine' },
      metadata: {
        invocationId: input.invocation,
        startedOn: new Date(input.startedAtMs).toISOString(),
        finishedOn: new Date(input.finishedAtMs).toISOString(),
        slipway_completeness: { request: mode === 'max', resolvedDependencies: vertices.every(isClosed) },
        slipway_network: await networkOf(vertices, input, store),
      },
    },
  };
  return { predicateType: provenanceType, filename: 'provenance.json', json: JSON.stringify(predicate) };
}

/** By the names of BuildKit's options. */
function argumentsOf(request: BuildRequest, mode: 'min' | 'max'): Record<string, string> {
  const { target, networkMode, noCache, noCacheFilter = [], buildArgs, labels } = request;
  const named = (prefix: string, values: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix}:${name}`, value]));
  return {
    ...(target === undefined || target === '' ? {} : { target }),
    ...(networkMode === undefined || networkMode === 'default' ? {} : { 'force-network-mode': networkMode }),
    ...(noCache || noCacheFilter.length > 0 ? { 'no-cache': noCacheFilter.join(',') } : {}),
    ...(mode === 'max' ? { ...named('build-arg', buildArgs), ...named('label', labels) } : {}),
  };
}

/** Which secrets and agents steps asked for; their values nobody here knows. */
function secretsOf(vertices: readonly Vertex[], mode: 'min' | 'max') {
  if (mode === 'min') return {};
  const mounts = vertices.flatMap(({ operation }) => (operation.kind === 'run' ? operation.mounts : []));
  const ids = (kind: 'secret' | 'ssh') => {
    const wanted = mounts.flatMap((mount) => (mount.kind === kind ? [{ id: mount.id, optional: !mount.required }] : []));
    return [...new Map(wanted.map((each) => [each.id, each])).values()];
  };
  return { secrets: ids('secret'), ssh: ids('ssh') };
}

function stepOf({ id, name, inputs, operation }: Vertex) {
  return { id, name: withoutCredentials(name), inputs, operation: operation.kind === 'run' ? runOf(operation) : shownOperation(operation) };
}

function runOf({ unkeyedEnv: _proxies, mounts, ...run }: RunOperation) {
  return { ...run, mounts: mounts.map((mount) => ({ ...mount, place: undefined })) };
}

function shownOperation(operation: Exclude<Vertex['operation'], RunOperation>) {
  if (operation.kind === 'http') return { ...operation, url: withoutCredentials(operation.url) };
  if (operation.kind === 'git') return { ...operation, remote: withoutCredentials(operation.remote) };
  // The files are in the definition's text.
  if (operation.kind === 'inline') return { kind: operation.kind, files: operation.files.map(({ path, mode }) => ({ path, mode })) };
  return operation.kind === 'copy'
    ? { ...operation, sources: operation.sources.map((source) => ({ ...source, place: undefined })) }
    : operation;
}

async function dependencies(
  vertices: readonly Vertex[],
  { sources, platform, request }: ProvenanceInput,
  { images }: Pick<Store, 'images'>,
): Promise<Dependency[]> {
  const found: Dependency[] = [];
  for (const { id, operation } of vertices) {
    if (operation.kind === 'image') {
      found.push({
        uri: imageUrl(operation.reference, platform),
        digest: await imageDigest(operation.reference, operation.tree.id, images),
      });
    } else if (operation.kind === 'http') found.push({ uri: withoutCredentials(operation.url), digest: sources.get(id) });
    else if (operation.kind === 'git') {
      const ref = operation.ref === undefined ? '' : `@${operation.ref}`;
      found.push({ uri: `git+${withoutCredentials(operation.remote)}${ref}`, digest: sources.get(id) });
    } else if (operation.kind === 'context') {
      const named = request.contexts?.[operation.name];
      const image = named?.kind === 'image' ? `pkg:docker/${named.reference}` : undefined;
      found.push({ uri: image ?? `slipway:context/${operation.name}`, name: operation.name, digest: sources.get(id) });
    }
  }
  return found;
}

/** The digest that the image's name had in its registry; without one, what the engine knows it by. */
async function imageDigest(reference: string, tree: string, images: Pick<Store['images'], 'resolve'>): Promise<DigestSet> {
  const image = await images.resolve(reference).catch(() => undefined);
  const digest = image?.tree === tree ? (image.origin?.index?.digest ?? image.origin?.manifestDigest) : undefined;
  return digest === undefined ? { slipwayTree: tree } : { sha256: digest.replace(/^sha256:/, '') };
}

/** Whether all that a step reads is told here: what comes over the network is not. */
function isClosed({ operation }: Vertex): boolean {
  return operation.kind !== 'run' || operation.network === 'none';
}

/** Where the processes of RUN went, and how many bytes they sent and got. `recorded` is false where nobody kept account: on the host's network, and when the result is of a build without provenance. */
async function networkOf(vertices: readonly Vertex[], { solution }: ProvenanceInput, { actions }: Pick<Store, 'actions'>) {
  const steps = vertices.filter(({ operation }) => operation.kind === 'run');
  return Promise.all(
    steps.map(async ({ id, name, operation }) => {
      const network = operation.kind === 'run' ? operation.network : 'none';
      if (network === 'none') return { step: name, network, recorded: true, hosts: [] };
      const recipe = solution.recipes.get(id);
      const stored = recipe === undefined ? undefined : await actions.get(recipe);
      const traffic = solution.traffic.get(id) ?? (stored === undefined ? undefined : solvedOf(stored).traffic);
      return { step: name, network, recorded: traffic !== undefined, hosts: traffic ?? [] };
    }),
  );
}
