import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { type Digest, digestOf, type Hex, newHash } from '../../oci/digest.ts';
import { type MetTarMember, TarReader } from '../../oci/tar/reader.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { compressionOf, type FileRange, rangeSize, readDecompressed, readRange } from '../compression.ts';
import { Extractor } from './extractor.ts';
import { type Directory, MutableTree } from './mutable-tree.ts';
import { PlainBudget } from './plain-budget.ts';
import { PathProblem, resolveDirectory } from './resolve.ts';

/** An archive of an untar job: a tar, compressed or not, in a file or a part of one. */
export type UntarSource = FileRange & {
  /** Names it in errors, for people: "layer 2 of web:1". */
  readonly what: string;
  /** Of the bytes as they lie there; DataLoss `BLOB_DAMAGED` when they differ. */
  readonly digest?: Digest | undefined;
  /** Of the uncompressed tar; DataLoss `LAYER_DAMAGED` when it differs. */
  readonly diffId?: Digest | undefined;
};

export type UntarParams = {
  readonly sources: readonly UntarSource[];
  /** `layer`: with whiteouts, each source over the ones before. `plain`: an archive that a person made. */
  readonly kind: 'layer' | 'plain';
  /** The tree to put it into; without one, an empty tree. */
  readonly base?: TreeId | undefined;
  /** Directory inside `base`, made when missing; symlinks in it are followed inside the tree. */
  readonly at?: ByteString | undefined;
  /** Overrides every owner. */
  readonly chown?: { uid: number; gid: number } | undefined;
  /** The end marker may be missing. Layers never need theirs: a digest says whether they are whole. */
  readonly endOptional?: boolean | undefined;
  /** What each layer may measure uncompressed, as `transport.unlayer` has it. */
  readonly maxPlainBytes?: number | undefined;
};

export type UntarResult = TreeRef & { readonly sources: readonly { digest: Digest; diffId: Digest; sizeBytes: number }[] };

/** Progress: bytes of tar read so far, over all sources. */
type UntarProgress = { readonly bytes: number };

const reportEveryBytes = 16 * 1024 * 1024;

/** Job `transport.untar`: tars become a tree without touching a file system. Nothing is kept when any of it fails. */
export async function untar(context: TreeContext, params: UntarParams): Promise<UntarResult> {
  const tree = new MutableTree(context, params.base);
  const root = extractionRoot(tree, params);
  const meter = progressMeter(context);
  const sources: { digest: Digest; diffId: Digest; sizeBytes: number }[] = [];
  for (const [index, source] of params.sources.entries()) {
    const extractor = new Extractor(context, tree, {
      what: source.what,
      kind: params.kind,
      root,
      ownsRoot: params.kind === 'layer' || params.base === undefined || root.generation === 1,
      generation: index + 1,
      owner: params.chown,
    });
    try {
      sources.push(await untarSource(source, extractor, params, meter));
    } catch (error) {
      throw (isMalformed(error) ? damageOf(source) : undefined) ?? error;
    }
  }
  return { ...tree.finish(), sources };
}

function extractionRoot(tree: MutableTree, params: UntarParams): Directory {
  const names = (params.at ?? '').split('/') as ByteString[];
  try {
    const root = resolveDirectory(tree, tree.root, names, { create: true, generation: 1, overlay: false, owner: undefined });
    if (root !== undefined) return root;
  } catch (error) {
    if (!(error instanceof PathProblem)) throw error;
  }
  throw new EngineError(
    'InvalidArgument',
    'NOT_A_DIRECTORY',
    `an archive cannot be unpacked at "${params.at ?? '/'}": it is not a directory`,
  );
}

async function untarSource(
  source: UntarSource,
  extractor: Extractor,
  { kind, endOptional, maxPlainBytes }: Pick<UntarParams, 'kind' | 'endOptional' | 'maxPlainBytes'>,
  meter: (bytes: number) => void,
): Promise<{ digest: Digest; diffId: Digest; sizeBytes: number }> {
  const budget = new PlainBudget(source.what, kind === 'layer' ? maxPlainBytes : Number.POSITIVE_INFINITY);
  const member = (met: MetTarMember) => {
    if (met.sparse) budget.count(met.size, sizeBytes);
    return extractor.member(met);
  };
  const reader = new TarReader(member, { what: source.what, requireEnd: kind === 'plain' && endOptional !== true });
  const sizeBytes = rangeSize(source, source.what);
  const compression = compressionOf(source);
  const tarHash = newHash();
  // A plain layer's tar is the blob: one hash does for both. Nobody asks for the digests of a person's archive.
  const wantsHash = kind === 'layer';
  const rawHash = compression === 'none' || !wantsHash ? undefined : newHash();
  const take = (chunk: Buffer) => {
    budget.count(chunk.length, sizeBytes);
    if (wantsHash) tarHash.update(chunk);
    reader.push(chunk);
    meter(chunk.length);
  };
  if (compression === 'none') for (const chunk of readRange(source, source.what)) take(chunk);
  else for await (const chunk of readDecompressed(source, compression, source.what, (raw) => rawHash?.update(raw))) take(chunk);
  reader.end();
  const diffId = digestOf(tarHash.digest('hex') as Hex);
  const digest = rawHash === undefined ? diffId : digestOf(rawHash.digest('hex') as Hex);
  if (source.digest !== undefined && source.digest !== digest) throw damaged('BLOB_DAMAGED', source.what, source.digest, digest);
  if (source.diffId !== undefined && source.diffId !== diffId) throw damaged('LAYER_DAMAGED', source.what, source.diffId, diffId);
  return { digest, diffId, sizeBytes };
}

export function isMalformed(error: unknown): boolean {
  return error instanceof EngineError && (error.code.startsWith('TAR_') || error.code.startsWith('ARCHIVE_'));
}

/** Damaged bytes are seldom a sound tar still. That they are not what was stored says more than where reading them failed. */
function damageOf(source: UntarSource): EngineError | undefined {
  const expected = source.digest ?? (compressionOf(source) === 'none' ? source.diffId : undefined);
  if (expected === undefined) return undefined;
  const hash = newHash();
  for (const chunk of readRange(source, source.what)) hash.update(chunk);
  const read = digestOf(hash.digest('hex') as Hex);
  return read === expected ? undefined : damaged('BLOB_DAMAGED', source.what, expected, read);
}

/** Reporting is also where a job notices that it was cancelled. */
function progressMeter(context: TreeContext): (bytes: number) => void {
  let total = 0;
  let reported = 0;
  return (bytes) => {
    total += bytes;
    if (total - reported < reportEveryBytes) return;
    reported = total;
    context.report({ bytes: total } satisfies UntarProgress);
  };
}

export function damaged(code: string, what: string, expected: string, read: string): EngineError {
  return new EngineError('DataLoss', code, `${what} is damaged: expected ${expected}, read ${read}`, {
    hint: 'Fetch or make the archive again.',
  });
}
