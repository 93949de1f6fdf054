import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findProgram } from '../../src/host/programs.ts';
import { RegistryClient } from '../../src/transport/registry/client.ts';
import { client } from './api-client.ts';

const program = findProgram('docker-registry');

/** bcrypt of "right". */
const users = 'me:$2y$05$abcdefghijklmnopqrstuu8xaCxxL82bnl.UY74PMksDxIJShppPC\n';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Debian's registry with a password file; its address. */
async function startRegistry(t: TestContext): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-registry-'));
  const address = `127.0.0.1:${await freePort()}`;
  writeFileSync(join(folder, 'users'), users);
  writeFileSync(
    join(folder, 'config.yml'),
    `version: 0.1
storage: {filesystem: {rootdirectory: ${folder}/data}}
http: {addr: ${address}}
auth: {htpasswd: {realm: here, path: ${folder}/users}}
`,
  );
  const registry = spawn(program ?? '', ['serve', join(folder, 'config.yml')], { stdio: ['ignore', 'ignore', 'pipe'] });
  t.after(async () => {
    registry.kill();
    await once(registry, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });
  let log = '';
  registry.stderr.setEncoding('utf8');
  while (!log.includes('listening on')) log += (await once(registry.stderr, 'data'))[0];
  registry.stderr.resume();
  return address;
}

test('POST /auth checks a password with a real registry', {
  skip: program === undefined && 'needs docker-registry',
  timeout: 20_000,
}, async (t) => {
  const address = await startRegistry(t);
  const call = client(t, { registries: new RegistryClient() });
  const right = await call('POST', '/auth', { username: 'me', password: 'right', serveraddress: address });
  assert.deepEqual([right.status, right.json()], [200, { Status: 'Login Succeeded', IdentityToken: '' }]);
  for (const body of [
    { username: 'me', password: 'wrong', serveraddress: `http://${address}` },
    { username: 'you', password: 'right', serveraddress: address },
    { serveraddress: address },
  ]) {
    const answer = await call('POST', '/auth', body);
    assert.deepEqual([answer.status, answer.json().code], [401, 'UNAUTHORIZED'], answer.body);
  }
});
