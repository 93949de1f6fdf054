import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diffIdsOf, parseImageConfig, withoutLayers } from './config.ts';
import { parseIndex, parseManifest, parseManifestDocument } from './manifest.ts';
import { MediaType } from './media-types.ts';
import { formatPlatform, parsePlatform, selectByPlatform } from './platform.ts';

const digest = `sha256:${'0'.repeat(64)}`;
const config = { mediaType: MediaType.ociConfig, digest, size: 2 };
const layer = { mediaType: MediaType.ociLayerGzip, digest, size: 10 };
const json = (value: unknown) => JSON.stringify(value);

test('a manifest and an index are told apart by what they hold', () => {
  const manifest = parseManifestDocument(json({ schemaVersion: 2, config, layers: [layer], annotations: { a: 'b' } }));
  assert.deepEqual(manifest, { kind: 'manifest', manifest: { schemaVersion: 2, config, layers: [layer], annotations: { a: 'b' } } });
  const index = parseManifestDocument(
    json({ schemaVersion: 2, manifests: [{ ...config, platform: { os: 'linux', architecture: 'arm64' } }] }),
  );
  assert.equal(index.kind, 'index');
});

const bad: [what: string, document: unknown, why: RegExp][] = [
  ['both in one', { schemaVersion: 2, config, layers: [], manifests: [] }, /different images/],
  ['neither', { schemaVersion: 2 }, /neither/],
  ['a version from the future', { schemaVersion: 3, config, layers: [] }, /only 2 is known/],
  ['schema 1', { schemaVersion: 1, fsLayers: [] }, /schema 1/],
  ['a manifest that calls itself an index', { schemaVersion: 2, mediaType: MediaType.ociIndex, config, layers: [] }, /announced as/],
  ['an unknown media type', { schemaVersion: 2, mediaType: 'text/html', config, layers: [] }, /"mediaType".*text\/html/],
  ['a digest that is none', { schemaVersion: 2, config, layers: [layer, { ...layer, digest: 'sha256:1' }] }, /"layers\[1\]\.digest"/],
  ['a negative size', { schemaVersion: 2, config, layers: [{ ...layer, size: -1 }] }, /"layers\[0\]\.size".*negative/],
  ['a size that is no whole number', { schemaVersion: 2, config: { ...config, size: 1.5 }, layers: [] }, /whole number/],
  ['a list where an object belongs', [], /must be an object/],
];
for (const [what, document, why] of bad) {
  test(`refuses ${what}`, () => assert.throws(() => parseManifestDocument(json(document)), why));
}

test('what was announced must agree with what came', () => {
  const index = json({ schemaVersion: 2, manifests: [] });
  assert.throws(() => parseManifestDocument(index, { mediaType: MediaType.ociManifest }), /announced as/);
  assert.throws(() => parseManifest(index), /expected a manifest/);
  assert.throws(() => parseIndex(json({ schemaVersion: 2, config, layers: [] })), /expected an index/);
});

test('limits and broken text name the document', () => {
  assert.throws(() => parseManifest(`{"a":"${'x'.repeat(4 << 20)}"}`, { what: 'manifest of web' }), /manifest of web has \d+ bytes/);
  assert.throws(() => parseManifest(Buffer.from([0x7b, 0xff, 0x7d])), /not JSON/);
  assert.throws(() => parseManifest('{"schemaVersion":'), /not JSON/);
});

test('a Docker config reads, with null as absent and unknown fields left out', () => {
  const parsed = parseImageConfig(
    json({
      architecture: 'amd64',
      os: 'linux',
      docker_version: '20',
      container_config: { Cmd: ['x'] },
      config: {
        Hostname: 'h',
        Env: ['A=1'],
        Cmd: ['sh'],
        Entrypoint: null,
        Volumes: { '/data': {} },
        Labels: null,
        Healthcheck: { Interval: 5 },
      },
      rootfs: { type: 'layers', diff_ids: [digest] },
      history: [{ created_by: 'x', empty_layer: true }],
    }),
  );
  assert.deepEqual(parsed.config, { Env: ['A=1'], Cmd: ['sh'], Volumes: { '/data': {} }, Healthcheck: { Interval: 5 } });
  assert.deepEqual(diffIdsOf(parsed), [digest]);
  assert.deepEqual(Object.keys(withoutLayers(parsed)).sort(), ['architecture', 'config', 'os']);
});

test('a config with a wrong type names the field', () => {
  assert.throws(() => parseImageConfig(json({ config: { Env: ['A', 3] } })), /"config\.Env\[1\]".*must be a string, is number 3/);
  assert.throws(() => parseImageConfig(json({ rootfs: { type: 'btrfs' } })), /only "layers"/);
  const hostile = parseImageConfig('{"config":{"Labels":{"__proto__":"x"}}}');
  assert.equal(Object.getPrototypeOf(hostile.config?.Labels), Object.prototype);
});

test('the closest platform of an index is taken', () => {
  const of = (text: string) => ({ ...config, platform: parsePlatform(text) });
  const index = [
    of('linux/arm64/v8'),
    of('linux/arm/v6'),
    of('linux/arm/v7'),
    of('linux/amd64'),
    { ...config, platform: { os: 'unknown', architecture: 'unknown' } },
  ];
  const pick = (text: string) => {
    const found = selectByPlatform(index, parsePlatform(text))?.platform;
    return found && formatPlatform(found);
  };
  assert.equal(pick('x86_64'), 'linux/amd64');
  assert.equal(pick('linux/amd64/v3'), 'linux/amd64');
  assert.equal(pick('aarch64'), 'linux/arm64');
  assert.equal(pick('linux/arm/v7'), 'linux/arm/v7');
  assert.equal(pick('linux/arm/v5'), undefined);
  assert.equal(pick('linux/s390x'), undefined);
  assert.equal(selectByPlatform([config], parsePlatform('linux/amd64')), config);
  assert.throws(() => parsePlatform('linux/amd64/v1/x'), /not a platform/);
});
