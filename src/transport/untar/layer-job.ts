import { closeSync, openSync, readSync } from 'node:fs';
import { Readable } from 'node:stream';
import type { ByteString } from '../../base/bytes.ts';
import { type Digest, digestOf, type Hex, newHash } from '../../oci/digest.ts';
import { TarReader } from '../../oci/tar/reader.ts';
import type { TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { type Compression, decompress, detectCompression, type FileRange, rangeSize, truncated } from '../compression.ts';
import { Extractor } from './extractor.ts';
import { GrowingFile } from './growing-file.ts';
import { damaged, isMalformed } from './job.ts';
import { MutableTree } from './mutable-tree.ts';
import { PlainBudget } from './plain-budget.ts';
import { NeedsLower } from './resolve.ts';

export type UnlayerParams = FileRange & {
  /** Names the layer in errors: "layer 2 of web:1". */
  readonly what: string;
  /** The file is being written: how far it is (growing-file.ts). Without, it is whole. */
  readonly growing?: SharedArrayBuffer | undefined;
  /** Of the bytes as they lie there; DataLoss `BLOB_DAMAGED` when they differ. */
  readonly digest?: Digest | undefined;
  /** Of the uncompressed tar; DataLoss `LAYER_DAMAGED` when it differs. */
  readonly diffId?: Digest | undefined;
  /** What the tar may measure uncompressed, holes counted; InvalidArgument `LAYER_TOO_LARGE` beyond it. When not given, 16 GiB or 200 times what was read of the blob, what is more. */
  readonly maxPlainBytes?: number | undefined;
};

/**
 * `layer`: the layer's own tree, digests checked. `needsLower`: the layer has something that only the layers below can tell (a hard link to a file of theirs), so that it has
 * to be unpacked on top of them with `transport.untar`; only the blob's digest was checked, and nothing is kept.
 */
export type UnlayerResult =
  | (TreeRef & {
      readonly kind: 'layer';
      readonly implied: readonly ByteString[];
      readonly digest: Digest;
      readonly diffId: Digest;
      readonly sizeBytes: number;
      readonly plainBytes: number;
    })
  | { readonly kind: 'needsLower'; readonly problem: string };

/** Progress: bytes of the blob read so far. */
export type UnlayerProgress = { readonly bytes: number };

const readBytes = 512 * 1024;
const reportEveryBytes = 4 * 1024 * 1024;

/** Job `transport.unlayer`: a layer becomes a tree of its own (docs/formats/layers.md), while its blob still arrives. Nothing is kept unless its digests are what was expected. */
export async function unlayer(context: TreeContext, params: UnlayerParams): Promise<UnlayerResult> {
  const reading = new LayerReading(context, params);
  try {
    return await reading.read();
  } catch (error) {
    // Damaged bytes are seldom a sound tar still. That they are not what was expected says more than where reading them failed.
    if (error instanceof NeedsLower || isMalformed(error)) await reading.checkDigest();
    if (error instanceof NeedsLower) return { kind: 'needsLower', problem: error.message };
    throw error;
  } finally {
    reading.close();
  }
}

class LayerReading {
  readonly #context: TreeContext;
  readonly #params: UnlayerParams;
  readonly #growing: GrowingFile | undefined;
  readonly #fd: number;
  readonly #start: number;
  readonly #budget: PlainBudget;
  #compression: Compression | undefined;
  #rawHash = newHash();
  #bytes = 0;
  #reported = 0;

  constructor(context: TreeContext, params: UnlayerParams) {
    this.#context = context;
    this.#params = params;
    this.#growing = params.growing === undefined ? undefined : new GrowingFile(params.growing);
    this.#start = params.offset ?? 0;
    this.#budget = new PlainBudget(params.what, params.maxPlainBytes);
    this.#fd = openSync(params.file, 'r');
  }

  close(): void {
    closeSync(this.#fd);
  }

  async read(): Promise<UnlayerResult> {
    const { what } = this.#params;
    const tree = new MutableTree(this.#context, undefined);
    const extractor = new Extractor(this.#context, tree, {
      what,
      kind: 'layer',
      alone: true,
      root: tree.root,
      ownsRoot: true,
      generation: 1,
    });
    const reader = new TarReader(
      (member) => {
        // Zeros that nobody stored are read by whoever hashes the file.
        if (member.sparse) this.#budget.count(member.size, this.#bytes);
        return extractor.member(member);
      },
      { what, requireEnd: false },
    );
    const tarHash = newHash();
    for await (const chunk of this.#plain()) {
      this.#budget.count(chunk.length, this.#bytes);
      tarHash.update(chunk);
      reader.push(chunk);
    }
    reader.end();
    const digest = this.#digest();
    const diffId = digestOf(tarHash.digest('hex') as Hex);
    if (this.#params.digest !== undefined && digest !== this.#params.digest)
      throw damaged('BLOB_DAMAGED', what, this.#params.digest, digest);
    if (this.#params.diffId !== undefined && diffId !== this.#params.diffId)
      throw damaged('LAYER_DAMAGED', what, this.#params.diffId, diffId);
    const sizes = { sizeBytes: this.#bytes, plainBytes: this.#budget.bytes };
    return { kind: 'layer', ...tree.finish(), implied: tree.unnamed(), digest, diffId, ...sizes };
  }

  /** Reads what is left, or all of it again. Throws `BLOB_DAMAGED` when the blob is not what was expected. */
  async checkDigest(): Promise<void> {
    const { what } = this.#params;
    // A plain blob is its tar: one digest tells of both.
    const digest = this.#params.digest ?? (this.#compression === 'none' ? this.#params.diffId : undefined);
    if (digest === undefined) return;
    this.#rawHash = newHash();
    this.#bytes = 0;
    for await (const _ of this.#raw());
    const read = this.#digest();
    if (read !== digest) throw damaged('BLOB_DAMAGED', what, digest, read);
  }

  #digest(): Digest {
    return digestOf(this.#rawHash.digest('hex') as Hex);
  }

  async *#plain(): AsyncGenerator<Buffer> {
    const raw = this.#raw();
    const first = await raw.next();
    if (first.done) return;
    const compression = detectCompression(first.value);
    this.#compression = compression;
    const all = prepend(first.value, raw);
    if (compression === 'none') yield* all;
    else yield* decompress(Readable.from(all, { objectMode: true, highWaterMark: 2 }), compression, this.#params.what);
  }

  /** The blob as it lies there, hashed on the way. The first chunk has at least six bytes where the blob has. */
  async *#raw(): AsyncGenerator<Buffer> {
    const whole = this.#growing === undefined ? rangeSize(this.#params, this.#params.what) : undefined;
    for (;;) {
      const available = whole ?? (await this.#waitForMore());
      const wanted = Math.min(readBytes, available - this.#bytes);
      if (wanted <= 0) return;
      const buffer = Buffer.allocUnsafeSlow(wanted);
      const count = readSync(this.#fd, buffer, 0, wanted, this.#start + this.#bytes);
      if (count === 0) throw truncated(this.#params.what);
      const chunk = buffer.subarray(0, count);
      this.#rawHash.update(chunk);
      this.#bytes += count;
      this.#report();
      yield chunk;
    }
  }

  async #waitForMore(): Promise<number> {
    const enough = this.#bytes === 0 ? 6 : this.#bytes;
    return (await this.#growing?.waitBeyond(enough, () => this.#context.report(this.#progress()))) ?? 0;
  }

  /** Reporting is also where a job notices that it was cancelled. */
  #report(): void {
    if (this.#bytes - this.#reported < reportEveryBytes) return;
    this.#reported = this.#bytes;
    this.#context.report(this.#progress());
  }

  #progress(): UnlayerProgress {
    return { bytes: this.#bytes };
  }
}

async function* prepend(first: Buffer, rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}
