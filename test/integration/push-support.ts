import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { emptyImageConfig } from '../../src/oci/config.ts';
import type { Descriptor, ImageIndex, Platform } from '../../src/oci/image.ts';
import { parseManifestDocument } from '../../src/oci/manifest.ts';
import { parseReference } from '../../src/oci/reference.ts';
import type { ImageRecord, Store } from '../../src/store/port.ts';
import { ArchiveService } from '../../src/transport/archives/service.ts';
import type { PushedImage, PushRequest, TransferCallOptions } from '../../src/transport/port.ts';
import { ImagePuller } from '../../src/transport/pull/puller.ts';
import type { FoundManifest, Repository } from '../../src/transport/registry/port.ts';
import { RegistryTransfers } from '../../src/transport/transfers.ts';
import { needsRegistry } from '../support/registry-server.ts';
import { openStoreForTest } from '../support/store.ts';
import { transportParts } from '../support/transport.ts';

/** For tests that also need skopeo. */
export const needsSkopeo = { skip: needsRegistry.skip || (!existsSync('/usr/bin/skopeo') && 'needs skopeo') };

type Files = Record<string, string | Buffer>;

/** A host: a store, and all that moves images in and out of it. */
export type Host = AsyncDisposable & {
  readonly store: Store;
  readonly transfers: RegistryTransfers;
  readonly archives: ArchiveService;
  /** An image of files, tagged. */
  image(name: string, files: Files, platform?: Platform): Promise<ImageRecord>;
  push(name: string, request?: Partial<PushRequest>, options?: TransferCallOptions): Promise<PushedImage>;
  pull(name: string): Promise<ImageRecord>;
  repository(name: string): Repository;
};

export async function openHost(t: TestContext): Promise<Host> {
  const store = await openStoreForTest({ jobIdleMs: 500 });
  const folder = mkdtempSync(join(tmpdir(), 'slipway-push-'));
  const parts = transportParts(store);
  const transfers = new RegistryTransfers({ ...parts, pulls: new ImagePuller({ store, chunked: parts.chunked }) });
  let closed = false;
  const close = async () => {
    if (closed) return;
    closed = true;
    await store[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  };
  t.after(close);
  return {
    store,
    transfers,
    archives: new ArchiveService(parts),
    async image(name, files, platform = { os: 'linux', architecture: 'amd64' }) {
      const path = mkdtempSync(join(folder, 'files-'));
      for (const [file, content] of Object.entries(files)) {
        mkdirSync(join(path, dirname(file)), { recursive: true });
        writeFileSync(join(path, file), content);
      }
      // As a build has it: what has not changed keeps its time.
      for (const each of ['', ...readdirSync(path, { recursive: true, encoding: 'utf8' })])
        utimesSync(join(path, each), 1_000_000, 1_000_000);
      const tree = await store.trees.ingest({ path, owner: { uid: 0, gid: 0 } });
      const config = { ...emptyImageConfig(platform), created: '2026-01-01T00:00:00Z', config: { Cmd: ['/run'] } };
      const record = await store.images.create({ config, tree, history: [{ created_by: 'a test' }] });
      await store.images.tag(name, record.id);
      return record;
    },
    async push(name, request = {}, options = {}) {
      return transfers.push({ image: await store.images.resolve(name), reference: parseReference(name), ...request }, options);
    },
    async pull(name) {
      return (await transfers.pull({ reference: parseReference(name) })).image;
    },
    repository: (name) => parts.registries.repository(parseReference(name), { actions: 'pull,push' }),
    [Symbol.asyncDispose]: close,
  };
}

/** What a tag names, and what of it is for people to run. */
export async function readTag(repository: Repository, tag: string): Promise<{ top: FoundManifest; children: Descriptor[] }> {
  const top = await repository.manifest(tag);
  const parsed = parseManifestDocument(top.bytes, { mediaType: top.descriptor.mediaType });
  return { top, children: parsed.kind === 'index' ? parsed.index.manifests : [] };
}

/** An index of manifests that are in the repository, under a tag. */
export async function putIndex(repository: Repository, tag: string, manifests: Descriptor[]): Promise<Buffer> {
  const index: ImageIndex = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests };
  const bytes = Buffer.from(JSON.stringify(index));
  await repository.putManifest(tag, bytes, 'application/vnd.oci.image.index.v1+json');
  return bytes;
}

/** Text that does not compress to nothing, the same for the same seed. */
export function noise(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed * 2654435761 + 1;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}
