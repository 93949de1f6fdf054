import type { FastifyInstance, FastifyRequest } from 'fastify';
import { EngineError } from '../../base/errors.ts';
import { unsupported } from '../errors.ts';
import { Filters } from '../filters.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';

const verbs = ['enable', 'disable', 'push', 'upgrade', 'set'];

/** Docker's managed plugins, of which there are none: an empty list, and 404 for each by its name. Names may hold slashes. */
export function pluginRoutes(app: FastifyInstance, _services: Services): void {
  app.get('/plugins', async (request) => {
    Filters.parse(new Query(request.query), ['capability', 'enabled']);
    return [];
  });
  app.get('/plugins/privileges', () => refuseInstall());
  app.get('/plugins/*', (request) => missing(request, ['json']));
  app.delete('/plugins/*', (request) => missing(request, []));
  app.post('/plugins/pull', () => refuseInstall());
  app.post('/plugins/create', () => refuseInstall());
  app.post('/plugins/*', (request) => missing(request, verbs));
}

function refuseInstall(): never {
  throw unsupported(
    'PLUGINS_UNSUPPORTED',
    'managed plugins are not supported: this engine installs none',
    'Volume drivers are started on the host and found by their sockets.',
  );
}

function missing(request: FastifyRequest, wanted: readonly string[]): never {
  const path = (request.params as { '*': string })['*'];
  const verb = wanted.find((each) => path.endsWith(`/${each}`));
  if (path === '' || (wanted.length > 0 && verb === undefined)) throw new EngineError('NotFound', 'ROUTE_NOT_FOUND', 'page not found');
  const name = verb === undefined ? path : path.slice(0, -verb.length - 1);
  throw new EngineError('NotFound', 'PLUGIN_NOT_FOUND', `plugin "${name.slice(0, 200)}" not found`);
}
