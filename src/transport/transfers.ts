import { maxConfigBytes, parseImageConfig } from '../oci/config.ts';
import { type Digest, parseDigest } from '../oci/digest.ts';
import type { ImageConfig, Platform } from '../oci/image.ts';
import { parseManifestDocument } from '../oci/manifest.ts';
import type { Reference } from '../oci/reference.ts';
import type { Store } from '../store/port.ts';
import type { ChunkedForm } from './chunked/port.ts';
import { copyImage } from './copy/copy.ts';
import type { LayerMaker } from './layers/port.ts';
import type { CopyRequest, PulledImage, PullRequest, PushedImage, PushRequest, TransferCallOptions, Transfers } from './port.ts';
import type { ImagePulls } from './pull/port.ts';
import { pushImage } from './push/push.ts';
import type { Registries, Repository } from './registry/port.ts';

type Access = { auth?: PullRequest['auth']; signal?: AbortSignal | undefined };

/** Images to and from registries, over the rooms that know registries, layers, the chunked form and pulls. Holds no state of its own. */
export class RegistryTransfers implements Transfers {
  readonly #parts: { store: Store; registries: Registries; layers: LayerMaker; chunked: ChunkedForm };
  readonly #pulls: ImagePulls;

  constructor(options: { store: Store; registries: Registries; layers: LayerMaker; chunked: ChunkedForm; pulls: ImagePulls }) {
    const { pulls, ...parts } = options;
    this.#parts = parts;
    this.#pulls = pulls;
  }

  pull(request: PullRequest, options: TransferCallOptions = {}): Promise<PulledImage> {
    const repository = this.#repository(request.reference, { auth: request.auth });
    return this.#pulls.pull(repository, request, options);
  }

  push(request: PushRequest, options: TransferCallOptions = {}): Promise<PushedImage> {
    return pushImage(this.#parts, request, options);
  }

  copy(request: CopyRequest, options: TransferCallOptions = {}): Promise<{ digest: Digest; bytesSent: number }> {
    return copyImage(this.#parts.registries, request, options);
  }

  async inspect(reference: Reference, { auth, signal }: Access = {}) {
    const repository = this.#repository(reference, { auth });
    const { descriptor, bytes } = await repository.manifest(reference.digest ?? reference.tag ?? 'latest', { signal });
    const document = parseManifestDocument(bytes, { mediaType: descriptor.mediaType, what: `the manifest of ${repository.name}` });
    if (document.kind === 'index') {
      const platforms = document.index.manifests.flatMap(({ platform }) => platform ?? []);
      return { descriptor, platforms: platforms.filter(({ os }) => os !== 'unknown') };
    }
    const { config } = document.manifest;
    if (!config.mediaType.includes('image') || config.size > maxConfigBytes) return { descriptor, platforms: [] };
    return { descriptor, platforms: [platformOf(await readConfig(repository, config, signal))] };
  }

  /** Sorted, whatever order the registry has them in. */
  async tags(reference: Reference, { auth, signal }: Access = {}): Promise<string[]> {
    return (await this.#repository(reference, { auth }).tags({ signal })).toSorted();
  }

  #repository(reference: Reference, { auth }: { auth: PullRequest['auth'] }): Repository {
    return this.#parts.registries.repository(reference, { auth });
  }
}

async function readConfig(
  repository: Repository,
  config: { digest: string; size: number },
  signal: AbortSignal | undefined,
): Promise<ImageConfig> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of repository.blob({ digest: parseDigest(config.digest), size: config.size }, { signal })) chunks.push(chunk);
  return parseImageConfig(Buffer.concat(chunks), `the config ${config.digest} of ${repository.name}`);
}

function platformOf(config: ImageConfig): Platform {
  const { architecture, os, variant } = config;
  return {
    architecture,
    os,
    ...(variant === undefined ? {} : { variant }),
    ...(config['os.version'] === undefined ? {} : { 'os.version': config['os.version'] }),
  };
}
