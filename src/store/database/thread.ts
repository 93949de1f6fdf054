import { parentPort, workerData } from 'node:worker_threads';
import { toErrorData } from '../../base/errors.ts';
import { fromSqliteError, openWriter } from './connection.ts';
import { createOperations, type Operations } from './operations.ts';
import type { DatabaseReply, DatabaseRequest, DatabaseThreadData } from './protocol.ts';

/** Entry of the thread that owns the writing connection. One message a request, answered in order. */
function main(): void {
  const port = parentPort;
  if (port === null) throw new Error('this module is the entry of a worker thread');
  const { path } = workerData as DatabaseThreadData;
  const reply = (message: DatabaseReply) => port.postMessage(message);
  const fail = (id: number, error: unknown) => reply({ id, error: toErrorData(fromSqliteError(error, path)) });

  let opened: { operations: Operations; close: () => void };
  try {
    const database = openWriter(path);
    opened = { operations: createOperations(database), close: () => database.close() };
    reply({ id: 0, result: undefined });
  } catch (error) {
    fail(0, error);
    port.close();
    return;
  }
  port.on('message', (request: DatabaseRequest) => {
    try {
      if (request.operation === 'close') {
        opened.close();
        reply({ id: request.id, result: undefined });
        port.close();
        return;
      }
      const operation = opened.operations[request.operation] as (...args: unknown[]) => unknown;
      reply({ id: request.id, result: operation(...request.args) });
    } catch (error) {
      fail(request.id, error);
    }
  });
}

main();
