import type { BuildRequest } from '../../src/build/port.ts';
import type { RunConfig } from '../../src/oci/image.ts';
import type { Files } from '../support/builds.ts';

/**
 * One row of behaviour. Expectations come from Docker's BuildKit (dockerfile frontend 1.26) or the Dockerfile reference; every entry's type, mode, owner
 * and content is compared, and the whole image config where `config` is given. `base` is a small image with busybox, root and `app` (1000:1001).
 */
export type Case = {
  readonly name: string;
  readonly files?: Files;
  readonly dockerfile: string;
  readonly request?: Partial<BuildRequest>;
  /** The whole tree: `type path mode uid:gid [content]`. */
  readonly tree?: readonly string[];
  /** Lines of the tree, where it stands on `base`. */
  readonly has?: readonly string[];
  readonly lacks?: readonly string[];
  /** The whole run config; `Env` without the default PATH. */
  readonly config?: RunConfig;
  /** `created_by` of the history that the build adds; a leading `~` marks an empty layer. */
  readonly history?: readonly string[];
  readonly error?: RegExp;
  readonly hint?: RegExp;
  readonly warning?: RegExp;
  /** All warnings, each `message (line)`, by line. */
  readonly warnings?: readonly string[];
  /** Named contexts: files each, or an image. */
  readonly contexts?: Readonly<Record<string, Files | { readonly image: string }>>;
  readonly secrets?: Readonly<Record<string, string>>;
};
