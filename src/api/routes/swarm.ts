import type { FastifyInstance } from 'fastify';
import { EngineError } from '../../base/errors.ts';
import type { Services } from '../services.ts';

/** What Docker answers on a node that is in no swarm (moby daemon/cluster). */
const notAManager =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

export function swarmRoutes(app: FastifyInstance, _services: Services): void {
  const refuse = () => {
    throw new EngineError('Unavailable', 'NOT_A_SWARM_MANAGER', notAManager);
  };
  for (const family of ['services', 'tasks', 'nodes', 'secrets', 'configs']) {
    app.get(`/${family}`, refuse);
    app.get(`/${family}/:id`, refuse);
    if (family !== 'tasks') {
      app.post(`/${family}/:id/update`, refuse);
      app.delete(`/${family}/:id`, refuse);
      if (family !== 'nodes') app.post(`/${family}/create`, refuse);
    }
    if (family === 'services' || family === 'tasks') app.get(`/${family}/:id/logs`, refuse);
  }
  app.get('/swarm', refuse);
  app.get('/swarm/unlockkey', refuse);
  app.post('/swarm/update', refuse);
  app.post('/swarm/unlock', refuse);
  app.post('/swarm/leave', () => {
    throw new EngineError('Unavailable', 'NO_SWARM', 'This node is not part of a swarm');
  });
  for (const verb of ['init', 'join']) {
    app.post(`/swarm/${verb}`, () => {
      throw new EngineError('Unavailable', 'SWARM_UNSUPPORTED', `This engine cannot ${verb} a swarm: it has no swarm mode`);
    });
  }
}
