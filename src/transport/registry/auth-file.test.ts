import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Handler, quick, serve } from '../../../test/support/fake-registry.ts';
import { MediaType } from '../../oci/media-types.ts';
import { credentialsFromFile } from './auth-file.ts';
import { RegistryClient } from './client.ts';

const basic = (text: string) => Buffer.from(text).toString('base64');

function fileOf(t: TestContext, content: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-auth-file-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'auth.json');
  writeFileSync(path, content, { mode: 0o600 });
  return path;
}

test('a mirror is told what the file has for it, and its registry what the client brings', async (t) => {
  const manifest = Buffer.from('{"schemaVersion":2,"layers":[]}');
  const asks: Handler = (request, response) => {
    if (request.headers.authorization === undefined) return response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="x"' }).end();
    if (request.url === '/v2/') return response.end('{}');
    return response.writeHead(200, { 'Content-Type': MediaType.ociManifest }).end(manifest);
  };
  const mirror = await serve(t, asks, true);
  const registry = await serve(t, asks, true);
  const authFile = fileOf(t, JSON.stringify({ auths: { [`https://${mirror.address}/v2/`]: { auth: basic('cache:for-mirrors') } } }));
  const client = new RegistryClient({
    ...quick,
    hosts: {
      [registry.address]: { mirrors: [`http://${mirror.address}`], insecure: true },
      [mirror.address]: { mirrors: [], insecure: true, authFile },
    },
  });
  const auth = { username: 'ann', password: 'se-cret' };
  await client.repository({ domain: registry.address, path: 'team/web' }, { auth }).manifest('latest');
  assert.ok(mirror.asked.includes(`GET /v2/team/web/manifests/latest Basic ${basic('cache:for-mirrors')}`), mirror.asked.join('\n'));
  assert.ok(!mirror.asked.join().includes(basic('ann:se-cret')));
  assert.deepEqual(registry.asked, []);

  // A registry of its own: what is brought comes before what is configured.
  const direct = client.repository({ domain: mirror.address, path: 'team/web' }, { auth });
  await direct.manifest('latest');
  assert.ok(mirror.asked.includes(`GET /v2/team/web/manifests/latest Basic ${basic('ann:se-cret')}`));
});

test('a file is read as Docker writes it; one that cannot be read is named, and nothing in it', async (t) => {
  const file = fileOf(
    t,
    JSON.stringify({
      auths: {
        'https://index.docker.io/v1/': { auth: basic('hub:user') },
        'r.example:5000': { username: 'bob', password: 'secret', identitytoken: 'refresh' },
        'not a host!': { auth: 'x' },
        'empty.example': {},
      },
    }),
  );
  assert.equal((await credentialsFromFile(file, 'registry-1.docker.io')).password, 'user');
  const bob = await credentialsFromFile(file, 'r.example:5000');
  assert.deepEqual([bob.username, bob.password, bob.refreshToken], ['bob', 'secret', 'refresh']);
  for (const host of ['empty.example', 'nowhere.example']) assert.equal((await credentialsFromFile(file, host)).username, '');
  const torn = fileOf(t, '{"auths": {"r.example": {"auth": "se-cret"');
  await assert.rejects(credentialsFromFile(torn, 'r.example'), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'REGISTRY_AUTH_FILE_UNREADABLE');
    assert.match(error.message, /auth\.json/);
    assert.doesNotMatch(error.message, /se-cret/);
    return true;
  });
  await assert.rejects(credentialsFromFile(`${torn}-none`, 'r.example'), { code: 'REGISTRY_AUTH_FILE_UNREADABLE', message: /ENOENT/ });
});
