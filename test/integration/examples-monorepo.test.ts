import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { cannotRunDaemon } from './api-daemon-harness.ts';
import { cannotReach, ExampleBench } from './examples-support.ts';
import { makeBusyboxRoot } from './runtime-support.ts';

const certificates = '/etc/ssl/certs/ca-certificates.crt';

/** Node as this test runs on it with the libraries that it needs, npm from the registry, busybox: what `debian-node:bookworm` is to the example, without a minute of bootstrap. */
function nodeRoot(bench: ExampleBench): string {
  const root = join(bench.folder, 'base');
  mkdirSync(root);
  makeBusyboxRoot(root);
  const put = (from: string, to = from) => {
    mkdirSync(dirname(join(root, to)), { recursive: true });
    copyFileSync(from, join(root, to));
  };
  put(process.execPath, '/usr/bin/node');
  const libraries = execFileSync('ldd', [process.execPath], { encoding: 'utf8' });
  for (const [, path = ''] of libraries.matchAll(/(\/\S+) \(0x/g)) put(path);
  if (existsSync(certificates)) put(certificates);
  execFileSync('npm', ['pack', '--silent', 'npm@10.9.4', '--pack-destination', bench.folder], { cwd: bench.folder, stdio: 'pipe' });
  mkdirSync(join(root, 'usr/lib/npm'), { recursive: true });
  execFileSync('tar', [
    '-xzf',
    join(bench.folder, 'npm-10.9.4.tgz'),
    '-C',
    join(root, 'usr/lib/npm'),
    '--strip-components=1',
    '--no-same-owner',
  ]);
  symlinkSync('../lib/npm/bin/npm-cli.js', join(root, 'usr/bin/npm'));
  mkdirSync(join(root, 'root'), { recursive: true });
  symlinkSync('/bin/busybox', join(root, 'usr/bin/env'));
  const registry = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  writeFileSync(join(root, 'root/.npmrc'), `registry=${registry}\n${existsSync(certificates) ? `cafile=${certificates}\n` : ''}`);
  const tar = join(bench.folder, 'base.tar');
  execFileSync('tar', ['-C', root, '--owner=0', '--group=0', '-cf', tar, '.']);
  return tar;
}

describe('the example of a monorepo', { skip: cannotRunDaemon }, () => {
  const bench = new ExampleBench();
  after(() => bench.remove());

  test('packages are built and tested side by side, and a change builds and tests what needs it', async (t) => {
    let base = '';
    try {
      base = nodeRoot(bench);
    } catch (error) {
      const reason = cannotReach(error);
      if (reason === false) throw error;
      return t.skip(reason);
    }
    await bench.place.start();
    bench.slipway('import', '--change', 'ENV PATH=/usr/bin:/bin', '--change', 'ENV HOME=/root', base, 'node-base:1');
    const folder = bench.copy('monorepo');
    const build = (...words: string[]) =>
      bench.build('-f', join(folder, 'build.ts'), '--build-arg', 'BASE=node-base:1', '-t', 'shop:1', ...words, folder);

    const first = await build();
    const packages = ['money', 'ids', 'validation', 'events', 'storage', 'catalog', 'pricing', 'orders', 'notify'].map(
      (name) => `packages/${name}`,
    );
    const all = [...packages, 'apps/api'];
    const installs = first.ran.filter((name) => name.startsWith('RUN npm ci'));
    assert.equal(installs.length, 2);
    assert.deepEqual(
      first.ran.filter((name) => !installs.includes(name)).sort(),
      all.flatMap((name) => [`RUN build ${name}`, `RUN test ${name}`]).sort(),
    );
    const span = (name: string) => first.spans.get(`RUN ${name}`) ?? { from: Number.NaN, to: Number.NaN };
    assert.ok(span('build packages/money').to < span('build packages/pricing').from, 'what a package needs is built before it');
    assert.equal(bench.slipway('run', '--rm', 'shop:1', 'node', '/shop/apps/api/dist/index.js', 'version'), 'shop dev\n');
    assert.deepEqual(
      bench.slipway('run', '--rm', 'shop:1', 'ls', '/shop/tested').trim().split('\n'),
      all.map((name) => name.replace('/', '-')).sort(),
    );
    assert.throws(() => bench.slipway('run', '--rm', 'shop:1', 'ls', '/shop/node_modules/esbuild'), 'what only development needs');

    const again = await build();
    assert.deepEqual([again.ran, again.result.cachedVertices, again.result.imageId], [[], again.result.vertices, first.result.imageId]);

    const source = join(folder, 'packages/pricing/src/index.ts');
    writeFileSync(source, readFileSync(source, 'utf8').replace('discount = 0.1', 'discount = 0.2'));
    const test = join(folder, 'packages/orders/test/index.test.js');
    writeFileSync(test, readFileSync(test, 'utf8').replaceAll('4500', '4000'));
    const changed = await build();
    const affected = ['packages/pricing', 'packages/orders', 'apps/api'].flatMap((name) => [`RUN build ${name}`, `RUN test ${name}`]);
    assert.deepEqual(changed.ran.sort(), affected.sort());

    appendFileSync(source, '// Nobody will see this in what is bundled.\n');
    const commented = await build();
    assert.deepEqual(commented.ran.sort(), ['RUN build packages/pricing', 'RUN test packages/pricing']);
    assert.equal(commented.result.content, changed.result.content);

    appendFileSync(join(folder, 'packages/ids/test/index.test.js'), "test('fails', () => assert.equal('this', 'that'));\n");
    await assert.rejects(build(), /'this' !== 'that'/, 'no image of what fails its tests');
  });
});
