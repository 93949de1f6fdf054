import { type Transferable, Worker } from 'node:worker_threads';
import { EngineError, fromErrorData } from '../../base/errors.ts';
import type { Operations } from './operations.ts';
import type { DatabaseReply, DatabaseRequest, DatabaseThreadData } from './protocol.ts';

type Pending = { resolve: (result: unknown) => void; reject: (error: Error) => void };

/** The main thread's end of the database thread. Requests are answered in the order in which they were made. */
export class DatabaseClient {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #ended: EngineError | undefined;

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.on('message', (reply: DatabaseReply) => this.#settle(reply));
    worker.on('error', (error) => this.#end(databaseEnded(error)));
    worker.on('exit', () => this.#end(databaseEnded(undefined)));
  }

  /** Starts the thread at `url` (src/store/database/thread.ts or its bundled form) and waits until the database is open. */
  static async open(url: URL, path: string): Promise<DatabaseClient> {
    const data: DatabaseThreadData = { path };
    const client = new DatabaseClient(new Worker(url, { name: 'metadata', workerData: data }));
    await new Promise((resolve, reject) => client.#pending.set(0, { resolve, reject }));
    return client;
  }

  /** Runs one operation of the database thread. Rejects with EngineError. */
  call<K extends keyof Operations>(operation: K, ...args: Parameters<Operations[K]>): Promise<ReturnType<Operations[K]>> {
    return this.#request(operation, args, []) as Promise<ReturnType<Operations[K]>>;
  }

  /** As `call`; `transfer` moves buffers instead of copying them. */
  callWithTransfer<K extends keyof Operations>(
    transfer: readonly Transferable[],
    operation: K,
    ...args: Parameters<Operations[K]>
  ): Promise<ReturnType<Operations[K]>> {
    return this.#request(operation, args, transfer) as Promise<ReturnType<Operations[K]>>;
  }

  /** Closes the database (its write-ahead log is emptied) and ends the thread. */
  async close(): Promise<void> {
    if (this.#ended !== undefined) return;
    await this.#request('close', [], []);
  }

  #request(operation: DatabaseRequest['operation'], args: unknown[], transfer: readonly Transferable[]): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const request: DatabaseRequest = { id: this.#nextId++, operation, args };
    return new Promise((resolve, reject) => {
      this.#pending.set(request.id, { resolve, reject });
      this.#worker.postMessage(request, transfer);
    });
  }

  #settle(reply: DatabaseReply): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if ('error' in reply) pending?.reject(fromErrorData(reply.error));
    else pending?.resolve(reply.result);
  }

  #end(reason: EngineError): void {
    this.#ended ??= reason;
    for (const { reject } of this.#pending.values()) reject(this.#ended);
    this.#pending.clear();
  }
}

function databaseEnded(cause: unknown): EngineError {
  return new EngineError('Unavailable', 'METADATA_CLOSED', 'the metadata database is closed', {
    cause,
    hint: 'The daemon is stopping, or its database thread failed: its log says which. Start it again.',
  });
}
