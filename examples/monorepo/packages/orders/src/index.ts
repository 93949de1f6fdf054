import { findProduct } from '@shop/catalog';
import { Topic } from '@shop/events';
import { newId } from '@shop/ids';
import type { Money } from '@shop/money';
import { priceOf } from '@shop/pricing';
import type { Database } from '@shop/storage';
import { count, Invalid } from '@shop/validation';

export type Order = { id: string; sku: string; quantity: number; price: Money };
export const placed = new Topic<Order>();

export async function placeOrder(database: Database, sku: string, quantity: unknown): Promise<Order> {
  const product = await findProduct(database, sku);
  if (product === undefined) throw new Invalid(`there is no ${sku}`);
  const order = { id: newId('order'), sku, quantity: count(quantity, 'quantity'), price: priceOf(product.price, Number(quantity)) };
  await database.query('INSERT INTO orders VALUES ($1, $2, $3, $4)', [order.id, sku, order.quantity, order.price.units]);
  placed.tell(order);
  return order;
}
