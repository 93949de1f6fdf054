import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ImageRecord } from '../store/port.ts';
import { checkPlatform, decodePlatform, parsePlatform } from './platform.ts';

test('platforms are read in all of their short forms', () => {
  assert.deepEqual(parsePlatform('linux'), { os: 'linux' });
  assert.deepEqual(parsePlatform('arm64'), { os: 'linux', architecture: 'arm64' });
  assert.deepEqual(parsePlatform('Linux/x86_64'), { os: 'linux', architecture: 'amd64' });
  assert.deepEqual(parsePlatform('linux/arm/v7'), { os: 'linux', architecture: 'arm', variant: 'v7' });
  for (const text of ['', '/', 'a/b/c/d', 'linux/../x']) assert.throws(() => parsePlatform(text), { code: 'PLATFORM_INVALID' }, text);
});

test('the JSON form names both system and architecture', () => {
  assert.deepEqual(decodePlatform('{"os":"linux","architecture":"arm64","os.version":"x"}'), { os: 'linux', architecture: 'arm64' });
  for (const text of ['', '[]', 'linux', '{"os":"linux"}', '{"os":1,"architecture":"x"}']) {
    assert.throws(() => decodePlatform(text), { code: 'PLATFORM_INVALID' }, text);
  }
});

test('an image of another platform is not there', () => {
  const image = { config: { os: 'linux', architecture: 'amd64' } } as ImageRecord;
  checkPlatform(image, 'web', { os: 'linux' });
  checkPlatform(image, 'web', { os: 'linux', architecture: 'amd64', variant: 'v2' });
  assert.throws(() => checkPlatform(image, 'web', { os: 'linux', architecture: 'arm64' }), {
    kind: 'NotFound',
    message: /wanted linux\/arm64, actual: linux\/amd64$/,
  });
});
