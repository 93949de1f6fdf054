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
  /** Steps that stand on each other and are in one group have one layer together, where layers follow the steps (`--layers per-step`). */
  readonly group?: string | undefined;
};

export type DefinitionStep = StepBase &
  (
    | { readonly kind: 'scratch' }
    /** An image here, or pulled when it is not. */
    | { readonly kind: 'image'; readonly reference: string }
    /** A file from the network, alone in its tree, or what the archive holds that it is. */
    | {
        readonly kind: 'http';
        readonly url: string;
        /** `sha256:…`; anything else that comes is an error. */
        readonly checksum?: string | undefined;
        /** Its name in the tree; the last part of the URL when not given. */
        readonly filename?: string | undefined;
        readonly unpack?: boolean | undefined;
      }
    /** A commit of a git repository, checked out. */
    | {
        readonly kind: 'git';
        /** As ADD takes it: `https://HOST/PATH.git#REF:FOLDER`, `ssh://…`, `git://…`, `USER@HOST:PATH`. */
        readonly url: string;
        readonly keepGitDirectory?: boolean | undefined;
        /** What the commit's digest has to begin with. */
        readonly checksum?: string | undefined;
      }
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
  /** A result that is older counts as none; with 0 the step runs in every build. */
  readonly cacheTtlMs?: number | undefined;
  readonly limits?: DefinitionLimits | undefined;
  /** Names that the step's network leads to, and no others: `registry.npmjs.org`, `*.debian.org`. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Entries of /etc/hosts: addresses by name. */
  readonly hosts?: Readonly<Record<string, string>> | undefined;
  /** Run beside the step, in its network name space, and end with it. */
  readonly services?: readonly DefinitionService[] | undefined;
};

/** What a process and all that it starts may take. */
export type DefinitionLimits = {
  readonly memoryBytes?: number | undefined;
  /** Processors' worth of time: 1.5 is one and a half. */
  readonly cpus?: number | undefined;
  readonly pids?: number | undefined;
};

/** A process of another tree that a step needs while it runs: a database. What it writes is thrown away. */
export type DefinitionService = {
  /** The step reaches it under this name. */
  readonly name: string;
  /** Id of the step whose tree it runs in; what is not said here is as that image has it. */
  readonly from: string;
  /** The image's Entrypoint and Cmd when not given. */
  readonly args?: readonly string[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly user?: string | undefined;
  readonly workingDir?: string | undefined;
  /** Run in the service, again and again, until it ends with 0; then the step begins. Within a minute when not given otherwise. */
  readonly ready?: { readonly args: readonly string[]; readonly timeoutMs?: number | undefined } | undefined;
  readonly limits?: DefinitionLimits | undefined;
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
  | { readonly kind: 'tmpfs'; readonly target: string; readonly sizeBytes?: number | undefined }
  /** A value of `--secret`, in a file (`/run/secrets/<id>` when neither is given) or in the variable `env`. */
  | {
      readonly kind: 'secret';
      readonly id: string;
      readonly target?: string | undefined;
      readonly env?: string | undefined;
      readonly required?: boolean | undefined;
      readonly mode?: number | undefined;
      readonly uid?: number | undefined;
      readonly gid?: number | undefined;
      /** The step runs again when the value is another one. */
      readonly invalidate?: boolean | undefined;
    }
  /** The agent of `--ssh`. SSH_AUTH_SOCK names its socket. */
  | {
      readonly kind: 'ssh';
      readonly id?: string | undefined;
      readonly target?: string | undefined;
      readonly required?: boolean | undefined;
      readonly mode?: number | undefined;
      readonly uid?: number | undefined;
      readonly gid?: number | undefined;
    };

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
