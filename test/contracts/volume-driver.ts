import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { VolumeDriver } from '../../src/volumes/port.ts';

export type DriverWorld = {
  driver: VolumeDriver;
  /** The same driver as the next engine has it, after this one was killed. */
  again(): VolumeDriver | Promise<VolumeDriver>;
};

/** What every volume driver promises. Registers the tests under the driver's name. */
export function volumeDriverContract(
  name: string,
  make: (t: TestContext) => DriverWorld | Promise<DriverWorld>,
  skip: string | false,
): void {
  const contract = (title: string, body: (world: DriverWorld) => Promise<void>) =>
    test(`${name}: ${title}`, { skip }, async (t) => body(await make(t)));

  contract('a volume is there once it is created, and gone with what is in it once it is removed', async ({ driver }) => {
    assert.equal(await driver.get('data'), undefined);
    await driver.create('data', {});
    await driver.create('data', {});
    assert.ok(await driver.get('data'));
    assert.deepEqual(
      (await driver.list()).map((volume) => volume.name),
      ['data'],
    );
    const { mountpoint } = await driver.mount('data', 'user');
    writeFileSync(join(mountpoint, 'file'), 'content');
    await driver.unmount('data', 'user');
    await driver.remove('data');
    await driver.remove('data');
    assert.equal(await driver.get('data'), undefined);
    assert.deepEqual(await driver.list(), []);
    assert.equal(existsSync(join(mountpoint, 'file')), false);
  });

  contract('what one user writes the next one reads', async ({ driver }) => {
    await driver.create('data', {});
    const { mountpoint } = await driver.mount('data', 'one');
    writeFileSync(join(mountpoint, 'file'), 'from one');
    await driver.unmount('data', 'one');
    const second = await driver.mount('data', 'two');
    assert.equal(readFileSync(join(second.mountpoint, 'file'), 'utf8'), 'from one');
    await driver.unmount('data', 'two');
  });

  contract('mounting and unmounting twice is once, and the others stay', async ({ driver }) => {
    await driver.create('data', {});
    const first = await driver.mount('data', 'one');
    writeFileSync(join(first.mountpoint, 'file'), 'x');
    assert.deepEqual(await driver.mount('data', 'one'), first);
    assert.deepEqual(await driver.mount('data', 'two'), first);
    await driver.unmount('data', 'one');
    await driver.unmount('data', 'one');
    await driver.unmount('data', 'nobody');
    assert.ok(existsSync(join(first.mountpoint, 'file')), 'the second user still has it');
    await driver.unmount('data', 'two');
    await driver.unmount('none', 'two');
  });

  contract('after a crash its users are known, and those that are gone can be let go', async ({ driver, again }) => {
    await driver.create('data', {});
    const { mountpoint } = await driver.mount('data', 'lives');
    await driver.mount('data', 'died');
    writeFileSync(join(mountpoint, 'file'), 'x');
    const next = await again();
    await next.mount('data', 'new');
    await next.recover((user) => user === 'lives');
    assert.ok(existsSync(join(mountpoint, 'file')));
    await next.unmount('data', 'new');
    await next.unmount('data', 'died');
    assert.ok(existsSync(join(mountpoint, 'file')), 'the one that lives still has it');
    await next.unmount('data', 'lives');
    await next.remove('data');
    assert.deepEqual(await next.list(), []);
  });

  contract('what is not there cannot be mounted, and says so', async ({ driver }) => {
    await assert.rejects(driver.mount('none', 'user'), { kind: 'NotFound', code: 'VOLUME_NOT_FOUND' });
  });

  contract('an option that it does not know is named', async ({ driver }) => {
    await assert.rejects(driver.create('data', { 'no-such-option': '1' }), /no-such-option/);
    assert.deepEqual(await driver.list(), []);
  });
}
