import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findPlugin } from '../../src/plugins/discovery.ts';
import { HostPlugins } from '../../src/plugins/host-plugins.ts';
import { LocalVolumeDriver } from '../../src/volumes/drivers/local.ts';
import { PluginVolumeDrivers } from '../../src/volumes/drivers/plugin.ts';
import type { VolumeDriver } from '../../src/volumes/port.ts';
import { VolumeService } from '../../src/volumes/service.ts';
import { FakeVolumePlugin } from './support/volume-plugin.ts';
import { volumeDriverContract } from './volume-driver.ts';

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-volume-driver-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function pluginScene(t: TestContext) {
  const folder = folderFor(t);
  const folders = { sockets: [join(folder, 'sockets')], specs: [join(folder, 'specs')] };
  for (const path of [...folders.sockets, ...folders.specs, join(folder, 'volumes')]) mkdirSync(path);
  const plugin = new FakeVolumePlugin(join(folder, 'data'));
  await plugin.listen(join(folder, 'sockets/fake.sock'));
  t.after(() => plugin.close());
  const errors: unknown[] = [];
  const plugins = new HostPlugins(folders);
  const drivers = () => new PluginVolumeDrivers({ runDirectory: join(folder, 'run'), plugins, onError: (_, error) => errors.push(error) });
  const find = async (): Promise<VolumeDriver> => {
    const driver = await drivers().find('fake');
    assert.ok(driver);
    return driver;
  };
  const service = (plugins = drivers()) =>
    new VolumeService({
      directory: join(folder, 'volumes'),
      runDirectory: join(folder, 'run'),
      drivers: [new LocalVolumeDriver({ directory: join(folder, 'volumes'), runDirectory: join(folder, 'run') })],
      plugins,
      usedBy: () => [],
    });
  return { folder, folders, plugin, errors, drivers, find, service };
}

volumeDriverContract(
  'local',
  (t) => {
    const folder = folderFor(t);
    const paths = { directory: join(folder, 'volumes'), runDirectory: join(folder, 'run') };
    mkdirSync(paths.directory);
    return { driver: new LocalVolumeDriver(paths), again: () => new LocalVolumeDriver(paths) };
  },
  false,
);

volumeDriverContract(
  'plugin',
  async (t) => {
    const { find } = await pluginScene(t);
    return { driver: await find(), again: find };
  },
  false,
);

test('a plugin hears of each user once, whatever crashes between', async (t) => {
  const { plugin, find } = await pluginScene(t);
  const driver = await find();
  await driver.create('data', {});
  for (const user of ['one', 'two', 'one']) await driver.mount('data', user);
  assert.equal(plugin.mounts('data'), 2);
  const next = await find();
  await next.mount('data', 'one');
  assert.equal(plugin.mounts('data'), 2);
  await next.recover((user) => user === 'two');
  assert.equal(plugin.mounts('data'), 2, 'one came back after the start');
  await next.unmount('data', 'one');
  await next.unmount('data', 'one');
  await next.unmount('data', 'two');
  assert.equal(plugin.mounts('data'), 0);
});

test("a plugin's volumes are among the others, with its words when it refuses", async (t) => {
  const { folder, plugin, service } = await pluginScene(t);
  const volumes = service();
  assert.deepEqual(volumes.drivers(), ['local']);
  const made = await volumes.create({ name: 'far', driver: 'fake', options: { size: '1' }, labels: { a: 'b' } });
  assert.deepEqual([made.driver, made.labels, made.status], ['fake', { a: 'b' }, { mounts: 0 }]);
  assert.deepEqual(volumes.drivers(), ['fake', 'local']);
  assert.equal(await volumes.mount('far', 'user'), join(folder, 'data/far'));
  mkdirSync(join(folder, 'data/far/part'));
  await assert.rejects(
    volumes.create({ name: 'bad', driver: 'fake', options: { colour: 'red' } }),
    /VolumeDriver.Create: unknown option colour/,
  );
  await assert.rejects(volumes.remove('far'), /VolumeDriver.Remove: volume far is mounted/);
  await volumes.create({ name: 'near' });
  const later = service();
  assert.deepEqual(
    (await later.list()).map(({ name, driver }) => [name, driver]),
    [
      ['far', 'fake'],
      ['near', 'local'],
    ],
    'known before the plugin is asked for',
  );
  assert.equal(await later.size('far'), undefined);
  await later.unmount('far', 'user');
  assert.equal(plugin.mounts('far'), 0);
  await later.remove('far');
  assert.deepEqual(readdirSync(join(folder, 'volumes')), ['near']);
});

test('volumes that were made behind our back are listed and can be used', async (t) => {
  const { plugin, drivers, service, find } = await pluginScene(t);
  await (await find()).create('strange', {});
  const plugins = drivers();
  const volumes = service(plugins);
  await plugins.find('fake');
  assert.deepEqual(
    (await volumes.list()).map(({ name }) => name),
    ['strange'],
  );
  await volumes.mount('strange', 'user');
  assert.equal(plugin.mounts('strange'), 1);
});

test('a dead plugin holds up nobody else, and can be got rid of', async (t) => {
  const { folder, plugin, service, errors, drivers } = await pluginScene(t);
  const volumes = service();
  await volumes.create({ name: 'far', driver: 'fake' });
  await volumes.mount('far', 'gone');
  await plugin.close();
  const plugins = drivers();
  const next = service(plugins);
  await next.recover(() => false);
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.ok(errors.length <= 1);
  await next.create({ name: 'near' });
  assert.deepEqual(
    (await next.list()).map(({ name }) => name),
    ['far', 'near'],
  );
  await assert.rejects(next.mount('far', 'user'), { kind: 'NotFound', code: 'VOLUME_DRIVER_NOT_FOUND' });
  await assert.rejects(volumes.mount('far', 'user'), { kind: 'Unavailable', code: 'PLUGIN_UNREACHABLE' });
  await assert.rejects(volumes.create({ name: 'more', driver: 'fake' }), { kind: 'Unavailable' });
  await next.remove('far', { force: true });
  assert.deepEqual(readdirSync(join(folder, 'volumes')), ['near']);
});

test('a plugin that does not answer is given up', async (t) => {
  const { plugin, find } = await pluginScene(t);
  const driver = await find();
  plugin.stuck = true;
  const before = Date.now();
  await assert.rejects(driver.list(), { code: 'PLUGIN_UNREACHABLE', message: /does not answer VolumeDriver.List: it takes too long/ });
  assert.ok(Date.now() - before < 10_000);
});

test("Docker's places are searched: sockets, then specs, and what they hold is checked", async (t) => {
  const { folders } = await pluginScene(t);
  const [sockets = '', specs = ''] = [folders.sockets[0], folders.specs[0]];
  mkdirSync(join(sockets, 'nested'));
  const nested = createServer().listen(join(sockets, 'nested/nested.sock'));
  t.after(() => nested.close());
  writeFileSync(join(specs, 'tcp.spec'), 'tcp://127.0.0.1:5000\n');
  writeFileSync(join(specs, 'unix.spec'), 'unix:///run/x.sock');
  writeFileSync(
    join(specs, 'tls.json'),
    JSON.stringify({ Name: 'tls', Addr: 'https://[::1]:1', TLSConfig: { CAFile: '/ca', InsecureSkipVerify: false } }),
  );
  writeFileSync(join(specs, 'bad.spec'), 'ftp://x');
  writeFileSync(join(specs, 'worse.json'), '{');
  assert.deepEqual(await findPlugin('fake', folders), { socketPath: join(sockets, 'fake.sock') });
  assert.deepEqual(await findPlugin('nested', folders), { socketPath: join(sockets, 'nested/nested.sock') });
  assert.deepEqual(await findPlugin('tcp', folders), { host: '127.0.0.1', port: 5000, tls: undefined });
  assert.deepEqual(await findPlugin('unix', folders), { socketPath: '/run/x.sock' });
  assert.deepEqual(await findPlugin('tls', folders), { host: '::1', port: 1, tls: { ca: '/ca' } });
  for (const name of ['none', '../fake', 'a/b', '']) assert.equal(await findPlugin(name, folders), undefined, name);
  for (const name of ['bad', 'worse']) await assert.rejects(findPlugin(name, folders), { code: 'PLUGIN_SPEC_INVALID' });
});
