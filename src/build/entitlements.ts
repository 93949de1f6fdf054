import { EngineError } from '../base/errors.ts';
import { errorAt } from './graph/place.ts';
import type { Graph, RunOperation } from './graph/vertex.ts';
import type { BuildRequest } from './port.ts';

/** What a step may do beyond the others, by BuildKit's names (`--allow`). */
export const entitlements = ['network.host', 'security.insecure', 'device'] as const;
export type Entitlement = (typeof entitlements)[number];

/** As Docker's engine: what gives all rights of root on the host is for whoever runs the engine to permit. */
export const permittedByDefault: readonly Entitlement[] = ['network.host', 'device'];

type Request = Pick<BuildRequest, 'entitlements' | 'networkMode'>;

/** In BuildKit's words (solver/llbsolver/solver.go, util/entitlements). InvalidArgument for a name that is none, Denied `ENTITLEMENT_DENIED`. */
export function checkGranted({ entitlements: asked = [] }: Request, permitted: readonly string[]): void {
  for (const name of asked) {
    if (!entitlements.some((known) => known === name)) {
      throw new EngineError('InvalidArgument', 'ENTITLEMENT_UNKNOWN', `invalid entitlement "${name.slice(0, 100)}"`, {
        hint: `Known are ${entitlements.join(', ')}.`,
      });
    }
    if (permitted.includes(name)) continue;
    throw new EngineError('Denied', 'ENTITLEMENT_DENIED', `granting entitlement ${name} is not allowed by build daemon configuration`, {
      hint: `Whoever runs the daemon permits it with "build.entitlements" in its configuration.`,
    });
  }
}

/** Every step of a graph has what it needs. Denied `ENTITLEMENT_MISSING` at the first that has not, before anything runs. */
export function checkEntitled(graph: Graph, request: Request): void {
  const granted = request.entitlements ?? [];
  for (const { operation, place } of graph.vertices) {
    const missing = operation.kind === 'run' ? neededBy(operation, request).find((name) => !granted.includes(name)) : undefined;
    if (missing === undefined) continue;
    throw errorAt(place, 'Denied', 'ENTITLEMENT_MISSING', `${missing} is not allowed`, {
      hint: `Allow it to this build with --allow ${missing}.`,
    });
  }
}

/** The host's network for all steps is the client's own wish. */
function neededBy({ network, security, devices = [] }: RunOperation, { networkMode }: Request): Entitlement[] {
  return [
    ...(network === 'host' && networkMode !== 'host' ? (['network.host'] as const) : []),
    ...(security === 'insecure' ? (['security.insecure'] as const) : []),
    ...(devices.length > 0 ? (['device'] as const) : []),
  ];
}
