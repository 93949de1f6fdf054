import pg from 'pg';

const schema = `
  CREATE TABLE IF NOT EXISTS products (sku text PRIMARY KEY, name text NOT NULL, units integer NOT NULL);
  CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, sku text NOT NULL REFERENCES products, quantity integer NOT NULL, units integer NOT NULL);
`;

export type Database = { query<R extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<R[]>; close(): Promise<void> };

/** A connection to the database that `url` names, with the tables that are ours. */
export async function openDatabase(url = process.env.DATABASE_URL): Promise<Database> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(schema);
  return {
    query: async (text, values) => (await client.query(text, values)).rows,
    close: () => client.end(),
  };
}
