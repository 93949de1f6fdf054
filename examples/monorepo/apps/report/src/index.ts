import { money, show } from '@shop/money';
import { type Database, openDatabase } from '@shop/storage';

export async function report(database: Database): Promise<string> {
  const [row] = await database.query<{ orders: number; units: number }>('SELECT count(*)::int AS orders, coalesce(sum(units), 0)::int AS units FROM orders');
  return `${row?.orders} orders, ${show(money(row?.units ?? 0, 'EUR'))}`;
}

if (process.argv[2] === 'serve') {
  const database = await openDatabase();
  console.log(await report(database));
  await database.close();
}
