import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { EngineError } from '../../base/errors.ts';
import { digestOf, sha256 } from '../../oci/digest.ts';
import { type Definition, DefinitionSchema, OpSchema } from '../gen/solver_pb.ts';
import { malformed } from '../grpc/frames.ts';

/** Of a source that is the result of a build that still runs. Nobody else reads it. */
const scheme = 'slipway-result://';

export type ResultAddress = { job: string; ref: string };

/**
 * A result as a client may hand it to another of its builds: LLB has graphs for that, ours has one source that names the result (bake's `target:` contexts). The last
 * operation of a definition has nothing but an input, which is the one that is meant.
 */
export function defineResult({ job, ref }: ResultAddress): Definition {
  const source = toBinary(OpSchema, create(OpSchema, { op: { case: 'source', value: { identifier: `${scheme}${job}/${ref}` } } }));
  const digest = digestOf(sha256(source));
  const last = toBinary(OpSchema, create(OpSchema, { inputs: [{ digest: digest, index: 0n }] }));
  // Clients refuse a graph that says nothing of its operations.
  return create(DefinitionSchema, { def: [source, last], metadata: { [digest]: {}, [digestOf(sha256(last))]: {} } });
}

/** InvalidArgument `GRAPH_UNSUPPORTED` for every other graph. */
export function readResultDefinition(definition: Definition, name: string): ResultAddress {
  const sources = definition.def.flatMap(sourcesOf);
  const [source = '', ...others] = sources;
  const [job, ref, ...rest] = source.startsWith(scheme) ? source.slice(scheme.length).split('/') : [];
  if (job !== undefined && ref !== undefined && rest.length === 0 && others.length === 0 && definition.def.length === 2)
    return { job, ref };
  throw new EngineError('InvalidArgument', 'GRAPH_UNSUPPORTED', `the input "${name}" is a graph in the form of LLB, which is not taken`, {
    hint: 'Results of other builds are, and Dockerfiles.',
  });
}

function sourcesOf(bytes: Uint8Array): string[] {
  try {
    const { op } = fromBinary(OpSchema, bytes);
    return op.case === 'source' ? [op.value.identifier] : [];
  } catch (error) {
    throw malformed(`an operation cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}
