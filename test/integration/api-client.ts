import type { TestContext } from 'node:test';
import { buildApp } from '../../src/api/app.ts';
import type { Services } from '../../src/api/services.ts';
import { fakeServices } from './api-fakes.ts';

export type Method = 'OPTIONS' | 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';

/** The application without a socket: a call answers status, headers and body. */
export function client(t: TestContext, change: Partial<Services> = {}) {
  const services = fakeServices(change);
  const app = buildApp(services);
  t.after(() => app.close());
  return async (method: Method, url: string, body?: unknown, headers: Record<string, string> = {}) => {
    const json = body === undefined ? {} : { payload: typeof body === 'string' ? body : JSON.stringify(body) };
    const type = body === undefined ? {} : { 'content-type': 'application/json' };
    const response = await app.inject({ method, url, ...json, headers: { ...type, ...headers } });
    return { status: response.statusCode, headers: response.headers, body: response.body, json: () => response.json() };
  };
}

export const filtersOf = (filters: unknown) => `filters=${encodeURIComponent(JSON.stringify(filters))}`;
