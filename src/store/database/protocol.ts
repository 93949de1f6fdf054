import type { ErrorData } from '../../base/errors.ts';
import type { Operations } from './operations.ts';

export type DatabaseThreadData = { path: string };
/** Ids count from 1; the reply with id 0 says that the database is open, or why not. */
export type DatabaseRequest = { id: number; operation: keyof Operations | 'close'; args: unknown[] };
export type DatabaseReply = { id: number; result: unknown } | { id: number; error: ErrorData };
