import { EngineError } from '../../base/errors.ts';
import type { Plugin, Plugins } from '../../plugins/port.ts';
import type { Authorization, RequestFacts, ResponseFacts } from './port.ts';

export type PluginAuthorizationOptions = {
  /** In the order in which they are asked. */
  names: readonly string[];
  plugins: Plugins;
  /** How long one may take; what takes longer is denied. */
  deadlineMs?: number | undefined;
  /** Told why, where it is not the plugin's own no. */
  onFailure?: ((plugin: string, error: unknown) => void) | undefined;
};

/**
 * Docker's authorization plugins: each in order must allow a request, and then its answer. One that is not there, has an error, or answers with anything but
 * `Allow: true` denies; nothing is ever let through for want of a decision.
 */
export class PluginAuthorization implements Authorization {
  readonly #options: PluginAuthorizationOptions;
  readonly #found = new Map<string, Plugin>();

  constructor(options: PluginAuthorizationOptions) {
    this.#options = options;
  }

  async request(request: RequestFacts): Promise<void> {
    await this.#askAll('AuthZPlugin.AuthZReq', encodeRequest(request));
  }

  async response(request: RequestFacts, { status, headers, body }: ResponseFacts): Promise<void> {
    await this.#askAll('AuthZPlugin.AuthZRes', {
      ...encodeRequest(request),
      ResponseStatusCode: status,
      ...(body === undefined || body.length === 0 ? {} : { ResponseBody: body.toString('base64') }),
      ResponseHeaders: headers,
    });
  }

  async #askAll(method: string, message: unknown): Promise<void> {
    for (const name of this.#options.names) {
      const { allow, reason } = await this.#ask(name, method, message);
      if (!allow) throw denied(name, reason);
    }
  }

  async #ask(name: string, method: string, message: unknown): Promise<{ allow: boolean; reason: string }> {
    try {
      const plugin = await this.#plugin(name);
      const { Allow, Msg, Err } = await plugin.call(method, message, this.#options.deadlineMs ?? 10_000);
      if (Err) return { allow: false, reason: String(Err) };
      return { allow: Allow === true, reason: typeof Msg === 'string' ? Msg : '' };
    } catch (error) {
      // It may have been started anew, elsewhere.
      this.#found.delete(name);
      this.#options.onFailure?.(name, error);
      return { allow: false, reason: error instanceof Error ? error.message : String(error) };
    }
  }

  async #plugin(name: string): Promise<Plugin> {
    const known = this.#found.get(name);
    if (known !== undefined) return known;
    const plugin = await this.#options.plugins.find(name, 'authz');
    if (plugin === undefined) throw new EngineError('Unavailable', 'PLUGIN_MISSING', 'there is no such authorization plugin on this host');
    this.#found.set(name, plugin);
    return plugin;
  }
}

function denied(plugin: string, reason: string): EngineError {
  return new EngineError('Denied', 'AUTHORIZATION_DENIED', `authorization denied by plugin ${plugin}: ${reason.slice(0, 4096)}`);
}

/** Go leaves fields out that are empty, and writes bytes as base64; a certificate is base64 of PEM. */
function encodeRequest({ user, method, uri, headers, body, peerCertificatesDer }: RequestFacts): Record<string, unknown> {
  return {
    ...(user === undefined ? {} : { User: user, UserAuthNMethod: 'TLS' }),
    RequestMethod: method,
    RequestUri: uri,
    ...(body === undefined || body.length === 0 ? {} : { RequestBody: body.toString('base64') }),
    RequestHeaders: headers,
    ...(peerCertificatesDer.length === 0 ? {} : { RequestPeerCertificates: peerCertificatesDer.map((der) => pemBase64(der)) }),
  };
}

function pemBase64(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return Buffer.from(`-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`).toString('base64');
}
