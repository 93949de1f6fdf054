import { addProduct, findProduct } from '@shop/catalog';
import { show } from '@shop/money';
import { announce } from '@shop/notify';
import { placed, placeOrder } from '@shop/orders';
import { type Database, openDatabase } from '@shop/storage';
import fastify, { type FastifyInstance } from 'fastify';

export function makeApi(database: Database): FastifyInstance {
  const api = fastify();
  api.get('/health', () => 'well\n');
  api.get<{ Params: { sku: string } }>('/products/:sku', async ({ params }, reply) => {
    const product = await findProduct(database, params.sku);
    return product === undefined ? reply.code(404).send() : { ...product, shown: show(product.price) };
  });
  api.put<{ Params: { sku: string }; Body: { name: string; units: number } }>('/products/:sku', async ({ params, body }, reply) => {
    await addProduct(database, { sku: params.sku, name: body.name, price: { units: body.units, currency: 'EUR' } });
    return reply.code(201).send();
  });
  api.post<{ Body: { sku: string; quantity: number } }>('/orders', ({ body }) => placeOrder(database, body.sku, body.quantity));
  return api;
}

if (process.argv[2] === 'serve') {
  announce(placed, (text) => console.log(text));
  const port = Number(process.env.PORT ?? 8080);
  await makeApi(await openDatabase()).listen({ port, host: '0.0.0.0' });
  console.log(`the shop listens on port ${port}`);
} else if (process.argv[2] === 'version') console.log(`shop ${process.env.SHOP_VERSION}`);
