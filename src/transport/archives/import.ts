import { applyChanges } from '../../oci/changes.ts';
import { defaultPath, emptyImageConfig, parseRunConfigJson } from '../../oci/config.ts';
import type { HistoryEntry, ImageConfig } from '../../oci/image.ts';
import { canonical, parseReference, withDefaultTag } from '../../oci/reference.ts';
import type { ImageRecord, Store } from '../../store/port.ts';
import type { UntarParams, UntarResult } from '../untar/job.ts';

export type ImportOptions = {
  reference?: string | undefined;
  /** Lines of a Dockerfile, as `--change` takes them. */
  changes?: readonly string[] | undefined;
  message?: string | undefined;
  signal?: AbortSignal | undefined;
  /** A container config in Docker's JSON, under the changes. */
  config?: Record<string, unknown> | undefined;
  /** What the files in it are for; the host's own without. */
  platform?: { architecture: string; variant?: string } | undefined;
  /** RFC 3339; the time of the import without. */
  created?: string | undefined;
};

/** A root tar as an image of one tree. The reference and the changes are checked before anything is read. */
export async function importRoot(store: Store, file: string, options: ImportOptions): Promise<ImageRecord> {
  const { signal } = options;
  const reference = options.reference === undefined ? undefined : withDefaultTag(parseReference(options.reference));
  const config = configOf(options);
  await using lease = await store.leases.acquire({ purpose: 'import' });
  const params: UntarParams = { kind: 'plain', sources: [{ file, what: 'the root archive' }] };
  const { id, content } = await store.jobs.run<UntarResult>('transport.untar', params, { signal, lease });
  signal?.throwIfAborted();
  const history: HistoryEntry = {
    ...(config.created === undefined ? {} : { created: config.created }),
    created_by: 'slipway import',
    comment: options.message ?? 'Imported from a root archive',
  };
  const record = await store.images.create({ config, tree: { id, content }, history: [history] });
  if (reference !== undefined) await store.images.tag(canonical(reference), record.id);
  return record;
}

function configOf(options: ImportOptions): ImageConfig {
  const base = options.config === undefined ? {} : parseRunConfigJson(JSON.stringify(options.config), 'the given config');
  const config = applyChanges(base, options.changes ?? []);
  const env = config.Env?.some((variable) => variable.startsWith('PATH=')) ? config.Env : [defaultPath, ...(config.Env ?? [])];
  const platform = options.platform === undefined ? undefined : { os: 'linux', ...options.platform };
  return {
    created: options.created ?? new Date().toISOString(),
    ...emptyImageConfig(platform),
    config: { ...config, Env: env },
  };
}
