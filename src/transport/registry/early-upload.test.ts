import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { blobOf, noisy, repositoryAt, sourceOf } from '../../../test/support/fake-registry.ts';
import { serveUploads } from '../../../test/support/upload-registry.ts';
import type { GrowingBlob } from './port.ts';

const first = 16 * 1024 * 1024;

/** A blob that is as long as the test says. */
class Growing implements GrowingBlob {
  readonly #bytes: Buffer;
  #there = 0;
  #failure: Error | undefined;
  /** What was waited for and not there. */
  asked = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  grow(bytes: number): void {
    this.#there = bytes;
  }

  fail(error: Error): void {
    this.#failure = error;
  }

  async available(least: number, signal?: AbortSignal): Promise<number> {
    for (;;) {
      signal?.throwIfAborted();
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#there >= least || this.#there === this.#bytes.length) return this.#there;
      this.asked = least;
      await sleep(1);
    }
  }

  async *read(offset: number): AsyncIterable<Uint8Array> {
    for (let at = offset; at < this.#there; ) {
      const piece = this.#bytes.subarray(at, Math.min(at + 1_000_000, this.#there));
      at += piece.length;
      yield piece;
    }
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(1);
}

test('what is there of a blob is sent before the rest is made', { timeout: 300_000 }, async (t) => {
  const bytes = noisy(40_000_000);
  const server = await serveUploads(t, () => undefined);
  const repository = repositoryAt(server);
  const growing = new Growing(bytes);
  const begun = repository.beginUpload(growing);
  growing.grow(first - 1);
  await until(() => growing.asked === first);
  assert.deepEqual(server.state.log, []);
  growing.grow(first + 1000);
  await until(() => growing.asked === 2 * first);
  assert.deepEqual(server.state.log, ['POST', 'PATCH 0-16777215']);
  growing.grow(bytes.length);
  let counted = 0;
  assert.equal(await repository.upload(blobOf(bytes), sourceOf(bytes), { begun, onBytes: (count) => (counted += count) }), 'uploaded');
  await begun.abandon();
  assert.ok(server.state.committed?.equals(bytes));
  assert.equal(counted, bytes.length);
  assert.deepEqual(
    server.state.log.filter((line) => line !== 'HEAD'),
    ['POST', 'PATCH 0-16777215', 'PATCH 16777216-33554431', 'PATCH 33554432-39999999', 'PUT'],
  );
});

test('a small blob is not begun, and one that is whole already is sent as any other', { timeout: 300_000 }, async (t) => {
  const bytes = noisy(100_000);
  const server = await serveUploads(t, () => undefined);
  const repository = repositoryAt(server);
  const growing = new Growing(bytes);
  const begun = repository.beginUpload(growing);
  growing.grow(bytes.length);
  assert.equal(await repository.upload(blobOf(bytes), sourceOf(bytes), { begun }), 'uploaded');
  assert.deepEqual(server.state.log, ['HEAD', 'POST', 'PUT']);
});

test('an upload of a growing blob goes on after cuts and busy answers, and begins anew when the registry forgot it', {
  timeout: 300_000,
}, async (t) => {
  const bytes = noisy(40_000_000);
  let patches = 0;
  const server = await serveUploads(t, ({ method }) => {
    if (method !== 'PATCH') return undefined;
    patches += 1;
    return patches === 1 ? 'cut' : patches === 2 ? 503 : undefined;
  });
  const repository = repositoryAt(server);
  const growing = new Growing(bytes);
  const begun = repository.beginUpload(growing);
  growing.grow(first);
  await until(() => growing.asked > first);
  growing.grow(bytes.length);
  let counted = 0;
  await repository.upload(blobOf(bytes), sourceOf(bytes), { begun, onBytes: (count) => (counted += count) });
  assert.ok(server.state.committed?.equals(bytes));
  assert.equal(server.state.beginnings, 1);
  assert.equal(counted, bytes.length);

  let forgotten = 0;
  const forgetful = await serveUploads(t, ({ method }, had) => (method === 'PATCH' && had > 0 && forgotten++ === 0 ? 'forget' : undefined));
  const again = new Growing(bytes);
  const other = repositoryAt(forgetful);
  const upload = other.beginUpload(again);
  again.grow(bytes.length);
  counted = 0;
  await other.upload(blobOf(bytes), sourceOf(bytes), { begun: upload, onBytes: (count) => (counted += count) });
  assert.ok(forgetful.state.committed?.equals(bytes));
  assert.equal(forgetful.state.beginnings, 2);
  assert.equal(counted, bytes.length);
});

test('a registry that takes no pieces gets the blob whole, and the next one is not begun', { timeout: 300_000 }, async (t) => {
  const bytes = noisy(20_000_000);
  const server = await serveUploads(t, ({ method }) => (method === 'PATCH' ? 405 : undefined));
  const repository = repositoryAt(server);
  for (const round of [1, 2]) {
    server.state.log.length = 0;
    const growing = new Growing(bytes);
    const begun = repository.beginUpload(growing);
    growing.grow(bytes.length);
    let counted = 0;
    assert.equal(await repository.upload(blobOf(bytes), sourceOf(bytes), { begun, onBytes: (count) => (counted += count) }), 'uploaded');
    assert.ok(server.state.committed?.equals(bytes));
    assert.equal(counted, bytes.length);
    assert.equal(server.state.log.filter((line) => line.startsWith('PATCH')).length, round === 1 ? 1 : 0);
    server.state.committed = undefined;
  }
});

test('an upload that is not wanted is taken back; one whose blob fails is left', { timeout: 300_000 }, async (t) => {
  const bytes = noisy(40_000_000);
  let isThere = false;
  const server = await serveUploads(t, ({ method }) => (method === 'HEAD' && isThere ? 200 : undefined));
  const repository = repositoryAt(server);
  const growing = new Growing(bytes);
  const begun = repository.beginUpload(growing);
  growing.grow(first);
  await until(() => growing.asked > first);
  // Somebody else has pushed it meanwhile.
  isThere = true;
  assert.equal(await repository.upload(blobOf(bytes), sourceOf(bytes), { begun }), 'present');
  assert.deepEqual(server.state.log, ['POST', 'PATCH 0-16777215', 'HEAD', 'DELETE']);

  const failing = new Growing(bytes);
  const failed = repository.beginUpload(failing);
  failing.fail(new Error('the disk is full'));
  await failed.abandon();

  const stop = new AbortController();
  const cancelled = new Growing(bytes);
  const upload = repository.beginUpload(cancelled, { signal: stop.signal });
  await until(() => cancelled.asked === first);
  stop.abort();
  await upload.abandon();
  assert.equal(server.state.committed, undefined);
});
