import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { PluginAuthorization } from '../../src/api/authorization/plugin-authorization.ts';
import { HostPlugins } from '../../src/plugins/host-plugins.ts';

/** What Docker sends to a plugin. */
export type Asked = {
  phase: 'request' | 'response';
  User?: string;
  UserAuthNMethod?: string;
  RequestMethod: string;
  RequestUri: string;
  RequestBody?: string;
  RequestHeaders: Record<string, string>;
  RequestPeerCertificates?: string[];
  ResponseStatusCode?: number;
  ResponseBody?: string;
  ResponseHeaders?: Record<string, string>;
};

type Verdict = { Allow?: unknown; Msg?: string; Err?: string };

/** An authorization plugin that remembers what it is asked; `decide` may answer, or take the answer over. */
export class FakeAuthorizationPlugin {
  readonly asked: Asked[] = [];
  decide: (asked: Asked, response: ServerResponse) => Verdict | 'mine' = () => ({ Allow: true });
  implements = ['authz'];
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        if (request.url === '/Plugin.Activate') return void response.end(JSON.stringify({ Implements: this.implements }));
        const phase = request.url === '/AuthZPlugin.AuthZReq' ? 'request' : 'response';
        const asked = { ...JSON.parse(Buffer.concat(chunks).toString()), phase } as Asked;
        this.asked.push(asked);
        const verdict = this.decide(asked, response);
        if (verdict !== 'mine') response.end(JSON.stringify(verdict));
      });
    });
  }

  async listen(socket: string): Promise<void> {
    this.#server.listen(socket);
    await once(this.#server, 'listening');
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  /** Method and address of all requests, in order. */
  get lines(): string[] {
    return this.asked.filter(({ phase }) => phase === 'request').map(({ RequestMethod, RequestUri }) => `${RequestMethod} ${RequestUri}`);
  }
}

/** Plugins of these names on sockets of their own, and what asks them. */
export async function authorizationScene<N extends string>(t: TestContext, names: readonly N[], deadlineMs = 5_000) {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-authz-'));
  const sockets = join(folder, 'plugins');
  mkdirSync(sockets);
  const plugins = {} as Record<N, FakeAuthorizationPlugin>;
  for (const name of names) {
    plugins[name] = new FakeAuthorizationPlugin();
    await plugins[name].listen(join(sockets, `${name}.sock`));
  }
  t.after(async () => {
    for (const name of names) await plugins[name].close();
    rmSync(folder, { recursive: true, force: true });
  });
  const failures: string[] = [];
  const authorization = new PluginAuthorization({
    names,
    plugins: new HostPlugins({ sockets: [sockets], specs: [] }),
    deadlineMs,
    onFailure: (plugin) => failures.push(plugin),
  });
  return { plugins, authorization, failures, sockets };
}

export const bodyOf = ({ RequestBody = '' }: Asked) => Buffer.from(RequestBody, 'base64').toString();
