import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { digestOf, sha256 } from '../../src/oci/digest.ts';
import { RegistryClient, type RegistryClientOptions } from '../../src/transport/registry/client.ts';
import type { HostSettings } from '../../src/transport/registry/hosts.ts';
import { needsRoot, temporaryFolder } from '../support/filesystem.ts';
import { needsRegistry, startRegistry } from '../support/registry-server.ts';
import { Certificates } from './daemon-certificates.ts';

const options = { ...needsRegistry, timeout: 60_000 };
const bytes = Buffer.from('a blob');
const blob = { digest: digestOf(sha256(bytes)), size: bytes.length };
const source = {
  async *read(offset: number) {
    yield bytes.subarray(offset);
  },
};

/** Reaches this host and is not known to: only loopback addresses are trusted by themselves. */
const away = (address: string) => address.replace('127.0.0.1', '0.0.0.0');

async function put(domain: string, settings?: Partial<HostSettings>, more: RegistryClientOptions = {}): Promise<string> {
  const hosts = settings === undefined ? {} : { [domain]: { mirrors: [], insecure: false, ...settings } };
  const client = new RegistryClient({ hosts, retries: { baseMs: 5 }, ...more });
  return client.repository({ domain, path: 'web' }, { actions: 'pull,push' }).upload(blob, source);
}

test('certificates are those of the system, of the configuration and of the folder that Docker has', options, async (t) => {
  const folder = temporaryFolder();
  t.after(() => folder[Symbol.dispose]());
  const certificates = new Certificates(join(folder.path, 'certificates'));
  certificates.issue('away', 'ca', 'serverAuth', 'subjectAltName=IP:0.0.0.0\n');
  const file = (name: string) => certificates.file(name);
  const tls = { cert: file('away.pem'), key: file('away-key.pem') };
  const open = await startRegistry(t, { tls });
  const started = performance.now();
  await assert.rejects(put(away(open.address)), { code: 'REGISTRY_UNREACHABLE', message: /certificate/i });
  assert.ok(performance.now() - started < 20_000, 'it is no use to try again');
  assert.equal(await put(away(open.address), { ca: file('ca.pem') }), 'uploaded');
  assert.equal(await put(away(open.address), { insecure: true }), 'present');
  assert.equal(await put(open.address), 'present', 'loopback is trusted as it is');
  await assert.rejects(put(away(open.address), { ca: file('none.pem') }), {
    code: 'REGISTRY_CERTIFICATES_UNREADABLE',
    message: /none\.pem/,
  });
  await assert.rejects(put(away(open.address), { ca: file('ca.pem'), cert: file('ca.pem'), key: file('client-key.pem') }), {
    code: 'REGISTRY_CERTIFICATES_UNREADABLE',
  });

  const closed = await startRegistry(t, { tls: { ...tls, clientCa: file('ca.pem') } });
  await assert.rejects(put(away(closed.address), { ca: file('ca.pem') }, { retries: { attempts: 2, baseMs: 5 } }), {
    code: 'REGISTRY_UNREACHABLE',
  });
  assert.equal(await put(away(closed.address), { ca: file('ca.pem'), cert: file('client.pem'), key: file('client-key.pem') }), 'uploaded');

  await t.test('in /etc/docker/certs.d', needsRoot, async (inner) => {
    const own = join('/etc/docker/certs.d', away(closed.address));
    inner.after(() => rmSync(own, { recursive: true, force: true }));
    mkdirSync(own, { recursive: true });
    copyFileSync(file('ca.pem'), join(own, 'ca.crt'));
    copyFileSync(file('client.pem'), join(own, 'client.cert'));
    copyFileSync(file('client-key.pem'), join(own, 'client.key'));
    assert.equal(await put(away(closed.address)), 'present');
  });
});

test('plain HTTP is spoken to loopback, and elsewhere only where that is allowed', options, async (t) => {
  const { address } = await startRegistry(t);
  assert.equal(await put(address), 'uploaded');
  await assert.rejects(put(away(address)), {
    code: 'REGISTRY_UNREACHABLE',
    message: `Get "https://${away(address)}/v2/": http: server gave HTTP response to HTTPS client`,
  });
  assert.equal(await put(away(address), { insecure: true }), 'present');
});

/** A forward proxy for HTTP, and for HTTPS by CONNECT; every name leads to `target`. */
async function startForwardProxy(t: TestContext, target: string): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const [host = '', port = ''] = target.split(':');
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '');
    asked.push(`${request.method} ${url.origin}`);
    const upstream = httpRequest(
      { host, port, path: `${url.pathname}${url.search}`, method: request.method, headers: request.headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
        answer.pipe(response);
      },
    );
    upstream.on('error', () => response.destroy());
    request.pipe(upstream);
  });
  server.on('connect', (request, socket) => {
    asked.push(`CONNECT ${request.url}`);
    const upstream = connect(Number(port), host, () => socket.write('HTTP/1.1 200 OK\r\n\r\n'));
    upstream.on('error', () => socket.destroy());
    socket.on('error', () => upstream.destroy());
    socket.pipe(upstream).pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

test('proxies of the environment are used, but not for loopback and what NO_PROXY names', options, async (t) => {
  const { address } = await startRegistry(t);
  const proxy = await startForwardProxy(t, address);
  const env = { HTTP_PROXY: proxy.url };
  assert.equal(await put('registry.invalid:5000', { insecure: true }, { env }), 'uploaded');
  assert.ok(proxy.asked.length > 0);
  assert.deepEqual(new Set(proxy.asked.map((line) => line.split(' ')[1])), new Set(['http://registry.invalid:5000']));
  proxy.asked.length = 0;
  assert.equal(await put(address, undefined, { env }), 'present');
  assert.equal(await put(away(address), { insecure: true }, { env: { ...env, NO_PROXY: '0.0.0.0' } }), 'present');
  assert.deepEqual(proxy.asked, []);

  const folder = temporaryFolder();
  t.after(() => folder[Symbol.dispose]());
  const certificates = new Certificates(join(folder.path, 'certificates'));
  certificates.issue('named', 'ca', 'serverAuth', 'subjectAltName=DNS:registry.invalid\n');
  const secret = await startRegistry(t, { tls: { cert: certificates.file('named.pem'), key: certificates.file('named-key.pem') } });
  const tunnel = await startForwardProxy(t, secret.address);
  const settings = { ca: certificates.file('ca.pem') };
  assert.equal(await put('registry.invalid', settings, { env: { HTTPS_PROXY: tunnel.url } }), 'uploaded');
  assert.deepEqual(new Set(tunnel.asked), new Set(['CONNECT registry.invalid:443']));
});
