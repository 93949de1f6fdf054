import { randomUUID } from 'node:crypto';
import { toBytes } from '../../base/bytes.ts';
import { type Hex, sha256 } from '../../oci/digest.ts';
import type { ImageConfig } from '../../oci/image.ts';
import { formatPlatform, platformOf } from '../../oci/platform.ts';
import type { TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import type { BuildEvent } from '../port.ts';
import { type Predicate, type Subject, spdxType, statementOf } from './model.ts';
import { type ProvenanceInput, provenance } from './provenance.ts';
import type { SbomParams, SbomResult } from './sbom-job.ts';
import type { SubjectsParams } from './subjects-job.ts';

type Options = { readonly lease: Lease; readonly signal: AbortSignal; readonly onEvent: (event: BuildEvent) => void };

export type AttestInput = Omit<ProvenanceInput, 'mode' | 'platform' | 'invocation' | 'finishedAtMs'> & {
  readonly tree: TreeRef;
  readonly config: ImageConfig;
};

/** The largest document that is kept for the next build. */
const maxSbomBytes = 256 * 1024 * 1024;
const sbomName = 'sbom.spdx.json';

/** Makes what a build is asked to state about its result (docs/formats/attestations.md). */
export class Attestor {
  readonly #store: Pick<Store, 'actions' | 'images' | 'jobs' | 'trees' | 'uses'>;

  constructor(options: { store: Pick<Store, 'actions' | 'images' | 'jobs' | 'trees' | 'uses'> }) {
    this.#store = options.store;
  }

  async describe(input: AttestInput, options: Options): Promise<Predicate[]> {
    const { provenance: mode, sbom } = input.request.attestations ?? {};
    const predicates: Predicate[] = [];
    if (sbom === true) predicates.push(await this.#sbom(input, options));
    if (mode !== undefined) {
      const platform = formatPlatform(platformOf(input.config));
      const run = { ...input, mode, platform, invocation: randomUUID(), finishedAtMs: Date.now() };
      predicates.push(await provenance(run, this.#store));
    }
    return predicates;
  }

  /** The tree with a file for each statement in its root, as BuildKit writes results that are files; their subjects are all other files. */
  async beside(tree: TreeRef, predicates: readonly Predicate[], { signal, lease }: Options): Promise<TreeRef> {
    if (predicates.length === 0) return tree;
    const params: SubjectsParams = { tree: tree.id };
    const subjects = await this.#store.jobs.run<Subject[]>('build.subjects', params, { signal });
    const files = predicates.map((each) => ({
      op: 'file' as const,
      path: toBytes(each.filename),
      data: statementOf(each, subjects),
      meta: { mode: 0o644 },
    }));
    return this.#store.trees.edit(tree.id, files, { signal, lease });
  }

  /** A tree of one content has one document, made once. */
  async #sbom({ tree, config }: AttestInput, { lease, signal, onEvent }: Options): Promise<Predicate> {
    const startedAt = performance.now();
    const tell = (state: 'running' | 'cached' | 'done', detail?: Record<string, number>) =>
      onEvent({
        kind: 'vertex',
        vertex: 'sbom',
        name: 'list packages for the SBOM',
        state,
        durationMs: performance.now() - startedAt,
        ...(detail === undefined ? {} : { detail }),
      });
    const { actions, jobs, trees, uses } = this.#store;
    const created = config.created ?? new Date(0).toISOString();
    const key: Hex = sha256(JSON.stringify(['slipway sbom 1', tree.content, created]));
    const known = await actions.get(key);
    if (known !== undefined) {
      await lease.add('tree', known.tree.id);
      await uses.touch('action', key);
      const json = (await trees.readFile(known.tree.id, toBytes(sbomName), { limit: maxSbomBytes })).toString('utf8');
      tell('cached');
      return { predicateType: spdxType, filename: sbomName, json };
    }
    tell('running');
    const params: SbomParams = { tree: tree.id, content: tree.content, created };
    const { json, packages } = await jobs.run<SbomResult>('build.sbom', params, { signal });
    const data = Buffer.from(json);
    if (data.length <= maxSbomBytes) {
      const file = { op: 'file' as const, path: toBytes(sbomName), data, meta: { mode: 0o644 } };
      await actions.put(key, { tree: await trees.edit(trees.empty.id, [file], { signal, lease }) });
    }
    tell('done', { packages });
    return { predicateType: spdxType, filename: sbomName, json };
  }
}
