import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, test } from 'node:test';
import { toBytes } from '../../src/base/bytes.ts';
import type { EngineError } from '../../src/base/errors.ts';
import type { Store } from '../../src/store/port.ts';
import { explain } from '../../src/transport/bootstrap/mmdebstrap.ts';
import { fromHost, parseTargets } from '../../src/transport/bootstrap/sources.ts';
import { type BootstrapOptions, bootstrapDebian } from '../../src/transport/bootstrap.ts';
import { openStoreForTest } from '../support/store.ts';

/** Stands in for mmdebstrap: notes how it was called, packs a small root, or does what FAKE says. */
const fakeMmdebstrap = `#!/bin/sh
echo "$SOURCE_DATE_EPOCH $*" >> "$FAKE_LOG"
for argument; do case "$argument" in *.tar) target=$argument;; esac; done
case "$FAKE" in
  sleep) sleep 300.04711 & echo "I: waiting" >&2; wait;;
  fail) echo "E: Unable to locate package nosuch" >&2; exit 1;;
  *) mkdir -p "$TMPDIR/r/etc" && echo made > "$TMPDIR/r/etc/made" && echo "I: success" >&2
     tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" -C "$TMPDIR/r" -cf "$target" .;;
esac
`;

const skip = process.getuid?.() !== 0 && 'needs root';

let folder = '';
let store: Store;
let mirror: Server;
let url = '';
const oldPath = process.env.PATH;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-bootstrap-'));
  mkdirSync(join(folder, 'bin'));
  writeFileSync(join(folder, 'bin', 'mmdebstrap'), fakeMmdebstrap);
  chmodSync(join(folder, 'bin', 'mmdebstrap'), 0o755);
  process.env.PATH = `${join(folder, 'bin')}${delimiter}${oldPath}`;
  process.env.FAKE_LOG = join(folder, 'log');
  store = await openStoreForTest();
  mirror = createServer((request, response) => {
    const known = request.url === '/debian/dists/sound/InRelease';
    response.writeHead(known ? 200 : 404).end('Origin: Debian\nDate: Sat, 11 Jul 2020 10:16:37 UTC\n');
  });
  await new Promise<void>((resolve) => mirror.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(mirror.address() as AddressInfo).port}/debian`;
});
after(async () => {
  process.env.PATH = oldPath;
  delete process.env.FAKE;
  delete process.env.FAKE_LOG;
  mirror.close();
  await store[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function bootstrap(options: Partial<BootstrapOptions> = {}) {
  return bootstrapDebian(store, { suite: 'sound', tag: 'base:1', mirror: url, ...options });
}
const calls = () => readFileSync(join(folder, 'log'), 'utf8').trim().split('\n');

test('a base is made once for a set of packages, named, dated by the archive, and made anew on request', { skip }, async () => {
  const lines: string[] = [];
  const first = await bootstrap({ include: ['nodejs', 'ca-certificates'], onOutput: (line) => lines.push(line) });
  assert.equal(first.cached, false);
  assert.equal((await store.images.resolve('base:1')).id, first.image.id);
  assert.equal(first.image.config.created, '2020-07-11T10:16:37.000Z');
  assert.deepEqual(first.image.config.config?.Cmd, ['bash']);
  assert.match(first.image.config.config?.Env?.[0] ?? '', /^PATH=/);
  assert.equal((await store.trees.readFile(first.image.tree, toBytes('etc/made'))).toString(), 'made\n');
  assert.ok(lines.includes('I: success'));
  const [call = ''] = calls();
  assert.match(call, /^1594462597 .*--variant=minbase .*--include=ca-certificates,nodejs .*path-exclude=\/usr\/share\/doc/);
  assert.match(call, new RegExp(`sound \\S+root.tar deb ${url}/ sound main$`), 'no archive that the mirror does not have');

  const again = await bootstrap({ include: ['ca-certificates', 'nodejs', 'nodejs'], tag: 'other' });
  assert.deepEqual([again.cached, again.image.id, calls().length], [true, first.image.id, 1]);
  assert.equal((await store.images.resolve('other:latest')).id, first.image.id);
  const fresh = await bootstrap({ include: ['ca-certificates', 'nodejs'], refresh: true });
  assert.deepEqual([fresh.cached, fresh.image.id, calls().length], [false, first.image.id, 2]);
  assert.deepEqual(readdirSync(store.paths.tmp), []);
});

test('what is wrong is said before anything is started', async () => {
  const started = calls().length;
  await assert.rejects(bootstrap({ suite: 'nosuch' }), {
    code: 'SUITE_NOT_FOUND',
    message: `there is no Debian suite "nosuch" at ${url}/`,
  });
  await assert.rejects(bootstrap({ suite: '--help' }), { code: 'SUITE_INVALID' });
  await assert.rejects(bootstrap({ include: ['a b'] }), { code: 'PACKAGE_INVALID' });
  await assert.rejects(bootstrap({ mirror: 'deb.debian.org' }), { code: 'MIRROR_INVALID' });
  await assert.rejects(bootstrap({ tag: 'Base' }), { code: 'REFERENCE_INVALID' });
  assert.equal(calls().length, started);
});

test('a failure names its cause and leaves nothing', { skip }, async () => {
  process.env.FAKE = 'fail';
  await assert.rejects(bootstrap({ include: ['nosuch'] }), { code: 'PACKAGE_NOT_FOUND' });
  delete process.env.FAKE;
  process.env.PATH = join(folder, 'empty');
  await assert.rejects(bootstrap({ include: ['x1'] }), (error: EngineError) => {
    assert.equal(error.code, 'MMDEBSTRAP_MISSING');
    assert.match(error.hint ?? '', /apt-get install mmdebstrap/);
    return true;
  });
  process.env.PATH = `${join(folder, 'bin')}${delimiter}${oldPath}`;
  assert.deepEqual(readdirSync(store.paths.tmp), []);
});

test('an abort ends whatever was started and removes what was made', { skip }, async () => {
  process.env.FAKE = 'sleep';
  const cancel = new AbortController();
  const running = bootstrap({ include: ['x2'], signal: cancel.signal, onOutput: () => cancel.abort() });
  await assert.rejects(running, { name: 'AbortError' });
  delete process.env.FAKE;
  assert.deepEqual(readdirSync(store.paths.tmp), []);
  assert.equal(isRunning('300.04711'), false);
});

test('sources come from the host’s own apt', () => {
  const targets = parseTargets(
    [
      'http://mirror.example/debian-security/|bookworm-security|main',
      'http://mirror.example/debian/|bookworm-updates|main',
      'http://mirror.example/debian/|bookworm|main',
      'http://mirror.example/debian/|bookworm|contrib',
      'cdrom://x/|bookworm|main',
      'https://other.example/|stable|main',
    ].join('\n'),
  );
  assert.deepEqual(
    fromHost('bookworm', targets).map(({ release }) => release),
    ['bookworm-security', 'bookworm-updates', 'bookworm'],
  );
  assert.deepEqual(fromHost('trixie', targets), [
    { uri: 'http://mirror.example/debian/', release: 'trixie' },
    { uri: 'http://mirror.example/debian/', release: 'trixie-updates' },
    { uri: 'http://mirror.example/debian-security/', release: 'trixie-security' },
  ]);
  assert.equal(fromHost('sid', [])[0]?.uri, 'http://deb.debian.org/debian/');
});

test('the usual failures of apt are explained', () => {
  const run = { suite: 'bookworm', sources: [{ uri: 'http://m/debian/', release: 'bookworm' }] };
  const codeOf = (line: string) => explain([line], 100, run).code;
  assert.equal(codeOf("E: Package 'x' has no installation candidate"), 'PACKAGE_NOT_FOUND');
  assert.equal(codeOf("W: Failed to fetch http://m/debian/dists/bookworm/InRelease  Could not resolve 'm'"), 'MIRROR_UNREACHABLE');
  assert.equal(codeOf('unshare: failed to execute mmdebstrap: No such file or directory'), 'MMDEBSTRAP_MISSING');
  assert.equal(codeOf('W: GPG error: NO_PUBKEY 1234'), 'KEYRING_MISSING');
  assert.equal(codeOf("E: The repository 'http://m/debian bookworm Release' does not have a Release file."), 'SUITE_NOT_FOUND');
  assert.equal(codeOf('tar: write error: No space left on device'), 'ENOSPC');
  assert.match(explain(['I: x', 'E: something else'], 25, run).message, /ended with status 25: E: something else/);
});

/** Whether a process has this among its arguments. */
function isRunning(argument: string): boolean {
  return readdirSync('/proc').some((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'latin1').split('\0').includes(argument);
    } catch {
      return false; // it has just ended
    }
  });
}
