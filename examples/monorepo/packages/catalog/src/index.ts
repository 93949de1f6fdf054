import { type Money, money } from '@shop/money';
import type { Database } from '@shop/storage';
import { text } from '@shop/validation';

export type Product = { sku: string; name: string; price: Money };

export async function addProduct(database: Database, product: Product): Promise<void> {
  await database.query('INSERT INTO products VALUES ($1, $2, $3)', [text(product.sku, 'sku'), text(product.name, 'name'), product.price.units]);
}

export async function findProduct(database: Database, sku: string): Promise<Product | undefined> {
  const [row] = await database.query<{ sku: string; name: string; units: number }>('SELECT * FROM products WHERE sku = $1', [sku]);
  return row && { sku: row.sku, name: row.name, price: money(row.units, 'EUR') };
}
