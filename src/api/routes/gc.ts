import type { FastifyInstance } from 'fastify';
import type { Collection, GcPlan } from '../../api-types/gc.ts';
import { bodyOf } from '../decode.ts';
import { Query } from '../query.ts';
import { gcRunRequest } from '../schemas/resources.ts';
import type { Services } from '../services.ts';

/** Plans of collections, and collections. */
export function gcRoutes(app: FastifyInstance, { collector, shutdown }: Services): void {
  app.get('/slipway/gc/plan', (request): Promise<GcPlan> => {
    const want = new Query(request.query).integer('want');
    return collector.plan({ wantedBytes: want, signal: shutdown });
  });
  app.post('/slipway/gc/run', (request): Promise<Collection> => {
    const { plan, want } = bodyOf(request.body, gcRunRequest);
    return collector.run({ planId: plan, wantedBytes: want, signal: shutdown, cause: 'asked' });
  });
  app.get('/slipway/gc/history', (): Promise<Collection[]> => collector.history());
}
