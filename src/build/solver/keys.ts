import { type Hex, sha256 } from '../../oci/digest.ts';
import type { Operation } from '../graph/vertex.ts';
import type { Read, SolvedOperation } from './executor.ts';

/** Goes into every key; a change makes all earlier results unknown. See docs/formats/build-keys.md. */
export const keyVersion = 'slipway-build-1';

/** JSON with sorted names and no `undefined`: equal values give equal text. */
export function canonical(value: unknown): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null';
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  members.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join(',')}}`;
}

function digest(kind: string, value: unknown): Hex {
  return sha256(canonical([keyVersion, kind, value]));
}

/**
 * The operation without what does not change its result: places, proxy variables, the way in which a cache is shared, limits, an image's name.
 */
export function keyedOperation(operation: Operation): unknown {
  switch (operation.kind) {
    case 'image':
      return { kind: 'image' };
    case 'copy':
      return { ...operation, sources: operation.sources.map(({ place: _place, ...source }) => source) };
    case 'run': {
      const { unkeyedEnv: _unkeyed, limits: _limits, allowedHosts: _allowed, hosts: _hosts, mounts, services, ...rest } = operation;
      return { ...rest, mounts: mounts.map(keyedMount), services: services?.map(({ ready: _ready, limits: _its, ...service }) => service) };
    }
    default:
      return operation;
  }
}

function keyedMount(mount: Extract<Operation, { kind: 'run' }>['mounts'][number]): unknown {
  if (mount.kind === 'bind' || mount.kind === 'secret' || mount.kind === 'ssh') return { ...mount, place: undefined };
  if (mount.kind === 'cache') return { ...mount, sharing: undefined };
  return { ...mount, sizeBytes: undefined };
}

export function operationKey(operation: SolvedOperation): Hex {
  return digest('operation', keyedOperation(operation));
}

/** The recipe key of a tree that is given: its identity is all that counts. */
export function givenKey(identity: string): Hex {
  return digest('given', identity);
}

/** What was to be done, all the way down. `times`: results differ in their times by how those are treated. `outside`: what it reads beside its inputs. */
export function recipeKey(operation: Hex, inputs: readonly Hex[], times: 'kept' | 'adopted', outside: readonly Read[] = []): Hex {
  return digest('recipe', { operation, inputs, times, outside: outside.length === 0 ? undefined : outside.map((read) => read.digest) });
}

/** What is to be done, and what it reads. */
export function contentKey(operation: Hex, reads: readonly Read[], times: 'kept' | 'adopted'): Hex {
  return digest('content', { operation, reads: reads.map((read) => read.digest), times });
}

/** Under a salted key lies the result that replaced the first one (`--no-cache`); entries themselves never change. */
export function saltedKey(key: Hex, salt: string | undefined): Hex {
  return salt === undefined ? key : digest('salted', { key, salt });
}

/** Where the time at which a tree of this content was first made is kept. */
export function originKey(content: Hex): Hex {
  return digest('origin', content);
}
