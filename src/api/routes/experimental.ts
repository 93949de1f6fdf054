import type { FastifyInstance } from 'fastify';
import { unsupported } from '../errors.ts';
import type { Services } from '../services.ts';

/** Routes that Docker serves in experimental mode only: this engine says of itself that it is in none. */
export function experimentalRoutes(app: FastifyInstance, _services: Services): void {
  const refuse = () => {
    throw unsupported(
      'EXPERIMENTAL',
      'This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.',
    );
  };
  app.get('/containers/:name/checkpoints', refuse);
  app.post('/containers/:name/checkpoints', refuse);
  app.delete('/containers/:name/checkpoints/:checkpoint', refuse);
}
