import type { Hex } from '../oci/digest.ts';
import type { DatabaseClient } from './database/client.ts';
import type { ActionOutput, Actions } from './port.ts';

/** The action cache, in the metadata database. An entry whose tree was collected counts as missing. */
export class StoredActions implements Actions {
  readonly #database: DatabaseClient;

  constructor(database: DatabaseClient) {
    this.#database = database;
  }

  async get(key: Hex): Promise<ActionOutput | undefined> {
    const row = await this.#database.call('getAction', key);
    if (row === undefined) return undefined;
    const tree = { id: row.id, content: row.content };
    return row.detail === undefined ? { tree } : { tree, detail: JSON.parse(row.detail) as Record<string, unknown> };
  }

  /** An existing entry stays as it is. */
  async put(key: Hex, output: ActionOutput): Promise<void> {
    await this.#database.call('putAction', key, output.tree.id, output.detail === undefined ? undefined : JSON.stringify(output.detail));
  }
}
