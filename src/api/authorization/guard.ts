import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { EngineError } from '../../base/errors.ts';
import { toHttpError } from '../errors.ts';
import { isTooLarge, type JsonLimits, readBody } from '../json-body.ts';
import { describeRequest, headersOf, isSecret } from './facts.ts';
import type { Authorization, RequestFacts } from './port.ts';
import { repeatedField } from './repeated-field.ts';

/** As much of a body as plugins are shown; Docker's number. What is larger is denied, since nobody could judge it. */
const shownBytes = 1024 * 1024;

/** Which bodies are parsed as JSON. Those are shown; the others are streams of data (tars), as in Docker. */
export const jsonType = /^application\/json(?=$|[;\s])/i;

type Guarded = { authorization: Authorization; facts: RequestFacts; body: Buffer | undefined; answered: boolean };

/** Requests that were let in, until they are answered. */
const guarded = new WeakMap<IncomingMessage, Guarded>();

/**
 * Puts `authorization` before every route of the application and before every answer. A body that is JSON is read here, once: what was judged is what the
 * route gets (`judgedBody`).
 */
export function guardApp(app: FastifyInstance, authorization: Authorization, limits: JsonLimits): void {
  app.addHook('preParsing', async (request, _reply, payload) => {
    const body = jsonType.test(request.headers['content-type'] ?? '') ? await readShown(request.raw, limits) : undefined;
    const facts = describeRequest(request, body);
    await authorization.request(facts);
    guarded.set(request.raw, { authorization, facts, body, answered: false });
    return payload;
  });
  app.addHook('onSend', async (request, reply, payload) => {
    const text = typeof payload === 'string' || Buffer.isBuffer(payload) ? Buffer.from(payload as string) : undefined;
    const refusal = await askAnswer(request, reply.statusCode, reply.getHeaders(), text);
    if (refusal === undefined) return payload;
    if (isDestroyable(payload)) payload.destroy();
    reply.code(refusal.status).removeHeader('content-length').header('content-type', 'application/json');
    return refusal.body;
  });
}

async function readShown(request: IncomingMessage, limits: JsonLimits): Promise<Buffer> {
  try {
    const body = await readBody(request, { ...limits, maxBytes: Math.min(limits.maxBytes, shownBytes) });
    const twice = repeatedField(body.toString('utf8'));
    if (twice === undefined) return body;
    throw unclear(`the request body says ${JSON.stringify(twice.slice(0, 100))} twice, and a plugin may understand it in another way`);
  } catch (error) {
    if (!isTooLarge(error)) throw error;
    throw unclear(`${(error as Error).message} where plugins judge it`);
  }
}

function unclear(why: string): EngineError {
  return new EngineError('Denied', 'AUTHORIZATION_DENIED', `authorization denied: ${why}`);
}

/** The bytes that were judged; undefined where nobody judges, and for bodies that are not JSON. */
export function judgedBody(request: FastifyRequest): Buffer | undefined {
  return guarded.get(request.raw)?.body;
}

/** Asks about a further request that this one stands for: routes of our own that do what several of Docker's do. Denied as a request of its own would be. */
export async function askAs(request: FastifyRequest, method: string, uri: string, body?: unknown): Promise<void> {
  const guard = guarded.get(request.raw);
  if (guard === undefined) return;
  const json = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  await guard.authorization.request({ ...guard.facts, method, uri, body: json });
}

type Refusal = { status: number; body: string };

/** Asks about the answer once, before any of it leaves. Undefined when it may leave. */
async function askAnswer(
  request: FastifyRequest,
  status: number,
  headers: Parameters<typeof headersOf>[0],
  body?: Buffer,
): Promise<Refusal | undefined> {
  const guard = guarded.get(request.raw);
  if (guard === undefined || guard.answered) return undefined;
  guard.answered = true;
  const shown = isSecret(request) || (body?.length ?? 0) > shownBytes ? undefined : body;
  try {
    await guard.authorization.response(guard.facts, { status, headers: headersOf(headers), body: shown });
    return undefined;
  } catch (error) {
    const answer = toHttpError(error);
    return { status: answer.status, body: JSON.stringify(answer.body) };
  }
}

/**
 * For an answer that is a stream: calls `begin` when it may leave, else answers the refusal and rejects. Undefined, with `begin` called, where nobody judges.
 */
export function beginStream(
  reply: FastifyReply,
  status: number,
  headers: Record<string, string>,
  begin: () => void,
): Promise<void> | undefined {
  if (!guarded.has(reply.request.raw)) return void begin();
  const { raw } = reply;
  return askAnswer(reply.request, status, { ...reply.getHeaders(), ...headers }).then((refusal) => {
    if (refusal === undefined) return begin();
    raw.writeHead(refusal.status, { 'Content-Type': 'application/json' }).end(refusal.body);
    throw deniedStream();
  });
}

/** As `beginStream`, for a connection that has left HTTP; a refused one is closed. */
export function beginTakenOver(request: FastifyRequest, socket: Socket, status: number, begin: () => void): Promise<void> | undefined {
  if (!guarded.has(request.raw)) return void begin();
  return askAnswer(request, status, {}).then((refusal) => {
    if (refusal === undefined) return begin();
    const head = `HTTP/1.1 ${refusal.status} Forbidden\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(refusal.body)}`;
    socket.write(`${head}\r\nConnection: close\r\n\r\n${refusal.body}`);
    socket.destroySoon();
    throw deniedStream();
  });
}

function deniedStream(): EngineError {
  return new EngineError('Denied', 'AUTHORIZATION_DENIED', 'an authorization plugin denied the answer');
}

function isDestroyable(payload: unknown): payload is { destroy(): void } {
  return typeof payload === 'object' && payload !== null && 'destroy' in payload && typeof payload.destroy === 'function';
}
