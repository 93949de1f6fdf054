import { readFileSync } from 'node:fs';
import { request as plainRequest, type RequestOptions } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { EngineError } from '../base/errors.ts';
import type { Plugin } from './port.ts';

/** Where a plugin listens. */
export type PluginAddress =
  | { socketPath: string }
  | { host: string; port: number; tls?: { ca?: string; cert?: string; key?: string; insecure?: boolean } | undefined };

const answerLimitBytes = 4 << 20;
const contentType = 'application/vnd.docker.plugins.v1.2+json';

/** Docker's plugin protocol, version 1, over a unix socket, TCP or TLS. */
export class PluginClient implements Plugin {
  readonly name: string;
  readonly #address: PluginAddress;

  constructor(name: string, address: PluginAddress) {
    this.name = name;
    this.#address = address;
  }

  async call(method: string, body: unknown, timeoutMs: number): Promise<Record<string, unknown>> {
    const { status, text } = await this.#exchange(`/${method}`, JSON.stringify(body), timeoutMs).catch((cause) => {
      throw new EngineError('Unavailable', 'PLUGIN_UNREACHABLE', `plugin ${this.name} does not answer ${method}: ${messageOf(cause)}`, {
        hint: 'Is it running? Its socket is looked for in /run/docker/plugins, its address in /etc/docker/plugins and /usr/lib/docker/plugins.',
        cause,
      });
    });
    return this.#parse(method, status, text);
  }

  #parse(method: string, status: number, text: string): Record<string, unknown> {
    try {
      const answer: unknown = JSON.parse(text === '' ? '{}' : text);
      // With another status only its error counts: whatever else it says, it did not do.
      if (isObject(answer) && (status === 200 || answer.Err)) return answer;
    } catch (cause) {
      if (!(cause instanceof SyntaxError)) throw cause;
    }
    throw new EngineError(
      'Internal',
      'PLUGIN_ANSWER_INVALID',
      `plugin ${this.name} answered ${method} with status ${status} and ${JSON.stringify(text.slice(0, 200))}`,
    );
  }

  #exchange(path: string, body: string, timeoutMs: number): Promise<{ status: number; text: string }> {
    const headers = { 'content-type': contentType, accept: contentType, 'content-length': Buffer.byteLength(body) };
    const options: RequestOptions = {
      ...this.#target(),
      method: 'POST',
      path,
      headers,
      agent: false,
      signal: AbortSignal.timeout(timeoutMs),
    };
    const secure = 'tls' in this.#address && this.#address.tls !== undefined;
    return new Promise((resolve, reject) => {
      const sent = (secure ? tlsRequest : plainRequest)(options, (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (chunk: string) => {
          text += chunk;
          if (text.length > answerLimitBytes) answer.destroy(new Error(`its answer is longer than ${answerLimitBytes} bytes`));
        });
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
        answer.on('error', reject);
      });
      sent.on('error', reject);
      sent.end(body);
    });
  }

  #target(): RequestOptions & { ca?: Buffer; cert?: Buffer; key?: Buffer; rejectUnauthorized?: boolean } {
    if ('socketPath' in this.#address) return { socketPath: this.#address.socketPath };
    const { host, port, tls } = this.#address;
    if (tls === undefined) return { host, port };
    const read = (file: string | undefined) => (file ? readFileSync(file) : undefined);
    const [ca, cert, key] = [read(tls.ca), read(tls.cert), read(tls.key)];
    return { host, port, ...(ca ? { ca } : {}), ...(cert ? { cert } : {}), ...(key ? { key } : {}), rejectUnauthorized: !tls.insecure };
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function messageOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return cause.name === 'TimeoutError' || cause.name === 'AbortError' ? 'it takes too long' : cause.message;
}
