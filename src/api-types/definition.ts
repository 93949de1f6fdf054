/**
 * A build as data, for what a Dockerfile cannot say (docs/formats/build-definition.md). `slipway build -f build.ts` evaluates a module that describes one; any other tool can write it.
 * Steps may stand in any order; each has one tree of files as its result.
 */
export type BuildDefinition = {
  readonly slipwayBuild: 1;
  readonly steps: readonly DefinitionStep[];
  /** Id of the step whose tree is the result. */
  readonly target: string;
  /** Over the configuration of the image that the target's chain of bases ends in. */
  readonly image?: DefinitionImage | undefined;
};

type StepBase = {
  /** Unique; letters, digits, `.`, `_`, `-`. */
  readonly id: string;
  /** For people; a text is made when there is none. */
  readonly name?: string | undefined;
};

export type DefinitionStep = StepBase &
  (
    | { readonly kind: 'scratch' }
    /** An image here, or pulled when it is not. */
    | { readonly kind: 'image'; readonly reference: string }
    /** The build context, without what .dockerignore leaves out. */
    | { readonly kind: 'context' }
    /** Small files written here. Paths absolute. */
    | {
        readonly kind: 'files';
        readonly files: readonly { readonly path: string; readonly text: string; readonly mode?: number | undefined }[];
      }
    | DefinitionCopy
    | {
        readonly kind: 'mkdir';
        readonly base: string;
        readonly path: string;
        readonly mode?: number | undefined;
        readonly owner?: string | undefined;
      }
    | DefinitionRun
    /** One over the other: directories merge, everything else replaces. */
    | { readonly kind: 'merge'; readonly trees: readonly string[] }
    /** What `upper` has and `lower` has not, or has otherwise. What `upper` lacks is not told. */
    | { readonly kind: 'difference'; readonly lower: string; readonly upper: string }
  );

/** As COPY: a directory's content is copied; a file goes into `to` when that ends in `/` or is a directory. */
export type DefinitionCopy = {
  readonly kind: 'copy';
  readonly base: string;
  readonly from: string;
  /** Absolute inside `from`; `*`, `?` and `[…]` as in COPY. */
  readonly paths: readonly string[];
  readonly to: string;
  readonly owner?: string | undefined;
  readonly mode?: number | undefined;
  /** As in .dockerignore, relative to each of `paths`. */
  readonly exclude?: readonly string[] | undefined;
};

export type DefinitionRun = {
  readonly kind: 'run';
  readonly base: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly user?: string | undefined;
  readonly workingDir?: string | undefined;
  readonly network?: 'default' | 'none' | 'host' | undefined;
  readonly mounts?: readonly DefinitionMount[] | undefined;
  /** Ends the step, and fails it, after so many milliseconds. */
  readonly timeoutMs?: number | undefined;
  /** How often a failed step is tried again. */
  readonly retries?: number | undefined;
};

export type DefinitionMount =
  | {
      readonly kind: 'cache';
      readonly target: string;
      readonly id?: string | undefined;
      readonly sharing?: 'shared' | 'private' | 'locked' | undefined;
    }
  | {
      readonly kind: 'bind';
      readonly target: string;
      readonly from: string;
      readonly path?: string | undefined;
      readonly writable?: boolean | undefined;
    }
  | { readonly kind: 'tmpfs'; readonly target: string; readonly sizeBytes?: number | undefined };

/** Docker's words, as in an image's `Config`. A list or map takes the place of the base's, but `Env` and `Labels` are added to it. */
export type DefinitionImage = {
  readonly Env?: Readonly<Record<string, string>> | undefined;
  readonly Labels?: Readonly<Record<string, string>> | undefined;
  readonly Cmd?: readonly string[] | undefined;
  readonly Entrypoint?: readonly string[] | undefined;
  readonly User?: string | undefined;
  readonly WorkingDir?: string | undefined;
  readonly ExposedPorts?: readonly string[] | undefined;
  readonly Volumes?: readonly string[] | undefined;
  readonly StopSignal?: string | undefined;
};
