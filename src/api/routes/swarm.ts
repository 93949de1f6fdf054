import type { FastifyInstance } from 'fastify';
import { EngineError } from '../../base/errors.ts';
import type { Services } from '../services.ts';

/** What Docker answers on a node that is in no swarm. */
const notAManager =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

export function swarmRoutes(app: FastifyInstance, _services: Services): void {
  const refuse = () => {
    throw new EngineError('Unavailable', 'NOT_A_SWARM_MANAGER', notAManager);
  };
  for (const family of ['services', 'tasks', 'nodes', 'secrets', 'configs', 'swarm']) {
    app.route({ method: ['GET', 'POST', 'DELETE'], url: `/${family}`, handler: refuse });
    app.route({ method: ['GET', 'POST', 'DELETE'], url: `/${family}/*`, handler: refuse });
  }
}
