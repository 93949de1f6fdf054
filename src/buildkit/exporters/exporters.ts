import { EngineError } from '../../base/errors.ts';
import type { BuildResult } from '../../build/port.ts';
import { canonical, familiar, parseReference, withDefaultTag } from '../../oci/reference.ts';
import type { TreeRef } from '../../store/model.ts';
import type { ImageRecord, Store } from '../../store/port.ts';
import type { Archives, Transfers } from '../../transport/port.ts';
import type { BuildJob } from '../control/jobs.ts';
import type { SessionFiles } from '../filesync/session-files.ts';
import type { ExportRequest, ImageMade } from '../port.ts';
import { sessionCredentials } from '../session/providers.ts';
import { sendStream } from './file-send.ts';

type Results = ReadonlyMap<string, BuildResult>;
type Options = {
  store: Pick<Store, 'images' | 'trees'>;
  archives: Pick<Archives, 'save' | 'exportTree'>;
  transfers: Pick<Transfers, 'push'>;
  files: SessionFiles;
  onImage: ImageMade;
};

/** `moby` is what Docker's own exporter is called; the others are BuildKit's. */
const imageTypes = ['moby', 'image', 'docker', 'oci'];

/** Puts the results of builds where their clients want them. */
export class Exporters {
  readonly #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  /** Whether a build is to end as an image, or only as a tree. */
  wantImage(exporters: readonly ExportRequest[]): boolean {
    return exporters.length === 0 || exporters.some(({ type }) => imageTypes.includes(type));
  }

  /** The names that the image gets, canonical. */
  names(exporters: readonly ExportRequest[]): string[] {
    return [...new Set(exporters.flatMap(({ type, attrs }) => (imageTypes.includes(type) ? namesOf(attrs) : [])))];
  }

  /** In the order in which they were asked for. Gives what clients are told of the results (`containerimage.digest` and so on). */
  async export(job: BuildJob, results: Results): Promise<Record<string, string>> {
    const response: Record<string, string> = {};
    for (const [index, exporter] of job.exporters.entries()) {
      job.signal.throwIfAborted();
      Object.assign(response, await this.#one(job, results, exporter, index));
    }
    return response;
  }

  async #one(job: BuildJob, results: Results, exporter: ExportRequest, index: number): Promise<Record<string, string>> {
    switch (exporter.type) {
      case '':
      case 'cacheonly':
        return {};
      case 'moby':
      case 'image':
        return {
          ...(await job.progress.step('exporting to image', () => this.#image(exporter, results))),
          ...(await this.#push(job, exporter, results)),
        };
      case 'docker':
      case 'oci':
        return job.progress.step(`exporting to ${exporter.type} image format`, (report) =>
          this.#archive(job, exporter, index, results, report),
        );
      case 'local':
        return job.progress.step('exporting to client directory', (report) => this.#local(job, index, results, report));
      case 'tar':
        return job.progress.step('exporting to client tarball', (report) => this.#tar(job, index, results, report));
      default:
        throw new EngineError('Unsupported', 'EXPORTER_UNSUPPORTED', `exporter "${exporter.type.slice(0, 50)}" could not be found`);
    }
  }

  async #image({ attrs }: ExportRequest, results: Results): Promise<Record<string, string>> {
    const image = imageOf(single(results));
    const names = namesOf(attrs);
    for (const name of names) await this.#options.store.images.tag(name, image.id);
    this.#options.onImage(image, names);
    return { ...answer(image), ...(attrs.name === undefined || attrs.name === '' ? {} : { 'image.name': attrs.name }) };
  }

  /** Newer clients leave it to the builder, older ones push by themselves: what is there already goes quickly. */
  async #push(job: BuildJob, { attrs }: ExportRequest, results: Results): Promise<Record<string, string>> {
    if (!isTrue(attrs.push)) return {};
    const image = imageOf(single(results));
    let digest: string | undefined;
    for (const name of namesOf(attrs)) {
      const reference = parseReference(name);
      const auth = await sessionCredentials(job.session, reference);
      const pushed = await job.progress.step(`pushing ${familiar(reference)}`, (report) =>
        this.#options.transfers.push(
          { image, reference, auth },
          {
            signal: job.signal,
            onProgress: ({ id, status, current, total }) => {
              if (id !== undefined && current !== undefined) report(`${status} ${id}`, current, total);
            },
          },
        ),
      );
      digest = pushed.digest;
    }
    return digest === undefined ? {} : { 'containerimage.digest': digest };
  }

  async #archive(
    job: BuildJob,
    { type, attrs }: ExportRequest,
    index: number,
    results: Results,
    report: Report,
  ): Promise<Record<string, string>> {
    const image = imageOf(single(results));
    const { archives, store } = this.#options;
    const names = namesOf(attrs);
    // An archive has the names of its images in it, and only what is named here has one.
    for (const name of names) await store.images.tag(name, image.id);
    if (attrs.tar === 'false') {
      throw new EngineError('Unsupported', 'EXPORT_LAYOUT_UNSUPPORTED', 'an image layout is written as a tar only, not as a folder', {
        hint: 'Leave out tar=false.',
      });
    }
    const stream = archives.save(names.length > 0 ? names : [image.id], { format: type === 'oci' ? 'oci' : 'docker', signal: job.signal });
    await sendStream(job.session, stream, {
      exporter: index,
      metadata: { 'containerimage.digest': image.id },
      signal: job.signal,
      onProgress: (bytes) => report('sending tarball', bytes),
    });
    return answer(image);
  }

  async #local(job: BuildJob, exporter: number, results: Results, report: Report): Promise<Record<string, string>> {
    const trees = [...results].flatMap<{ platform: string; tree: TreeRef }>(
      ([platform, { tree, platforms }]) => platforms ?? [{ platform, tree }],
    );
    for (const { platform, tree } of trees) {
      const under = trees.length > 1 && platform !== '' ? platform.replaceAll('/', '_') : undefined;
      const sent = await this.#options.files.send(job.session, tree, { exporter, under, signal: job.signal });
      report('copying files', sent.sentBytes);
    }
    return {};
  }

  async #tar(job: BuildJob, exporter: number, results: Results, report: Report): Promise<Record<string, string>> {
    const { tree, platforms } = single(results);
    if (platforms !== undefined) throw severalTrees();
    const stream = this.#options.archives.exportTree(tree.id, { signal: job.signal });
    await sendStream(job.session, stream, {
      exporter,
      metadata: {},
      signal: job.signal,
      onProgress: (bytes) => report('sending tarball', bytes),
    });
    return {};
  }
}

type Report = (status: string, current: number) => void;

function isTrue(value: string | undefined): boolean {
  return value === 'true' || value === '1';
}

function single(results: Results): BuildResult {
  const [result, ...others] = results.values();
  if (result === undefined) throw new EngineError('InvalidArgument', 'RESULT_EMPTY', 'the build has no result to export');
  if (others.length > 0)
    throw new EngineError('Unsupported', 'EXPORT_PLATFORMS_UNSUPPORTED', 'an image of several platforms cannot be exported here');
  return result;
}

/** BuildKit puts each into a folder of the tar; a folder of the client gets them here. */
function severalTrees(): EngineError {
  return new EngineError('Unsupported', 'EXPORT_PLATFORMS_UNSUPPORTED', 'the files of several platforms do not go into one tar', {
    hint: 'Write them into a folder: type=local,dest=DIR.',
  });
}

function imageOf({ image }: BuildResult): ImageRecord {
  if (image === undefined) throw new EngineError('Internal', 'RESULT_WITHOUT_IMAGE', 'the build was not asked for an image');
  return image;
}

function namesOf({ name }: Readonly<Record<string, string>>): string[] {
  const names = (name ?? '').split(',').filter((each) => each !== '');
  return names.map((each) => canonical(withDefaultTag(parseReference(each))));
}

/** An image has one id here, whatever its manifest will be; one of several platforms has its index already. */
function answer({ id, origin, platforms }: ImageRecord): Record<string, string> {
  const index = platforms === undefined ? undefined : origin?.index;
  if (index === undefined) return { 'containerimage.digest': id, 'containerimage.config.digest': id };
  const descriptor = Buffer.from(JSON.stringify({ mediaType: index.mediaType, digest: index.digest })).toString('base64');
  return { 'containerimage.digest': index.digest, 'containerimage.descriptor': descriptor };
}
