import type {
  BuildDefinition,
  DefinitionImage,
  DefinitionMount,
  DefinitionRun,
  DefinitionService,
  DefinitionStep,
} from '../api-types/definition.ts';

/**
 * Describes builds: `import { build, image, context } from 'slipway/build'`. Nothing is done here; a module's default export says what is to be done, and the engine does it. Values are
 * immutable: every method gives a new tree, and what is described twice the same is done once.
 */
export type BuildInput = {
  /** `--build-arg NAME=VALUE`. */
  readonly args: Readonly<Record<string, string>>;
  /** `--target`, '' when not given. */
  readonly target: string;
};

export type CopyOptions = {
  /** `user`, `user:group`, names or numbers. */
  readonly owner?: string;
  /** Permission bits of everything copied. */
  readonly mode?: number;
  /** Patterns of .dockerignore, relative to what is copied. */
  readonly exclude?: readonly string[];
};

export type RunOptions = Omit<DefinitionRun, 'kind' | 'base' | 'args' | 'mounts' | 'services'> & {
  readonly name?: string;
  readonly mounts?: readonly Mount[];
  readonly services?: readonly Service[];
  /** Steps that stand on each other and are in one group have one layer together. */
  readonly group?: string;
};

/** A program of another tree that runs beside a step, which reaches it by its name. */
export type Service = Omit<DefinitionService, 'from'> & { readonly from: Tree };

export type Mount =
  | Exclude<DefinitionMount, { kind: 'bind' }>
  | { kind: 'bind'; target: string; from: Tree; path?: string; writable?: boolean };

type StepBody = DefinitionStep extends infer S ? (S extends { id: string } ? Omit<S, 'id'> : never) : never;

type Parts = { readonly step: StepBody; readonly inputs: readonly Tree[] };
/** What trees are made of; nobody outside needs to know. */
const partsOf = new WeakMap<Tree, Parts>();

/** A tree of files: the result of a step. */
export class Tree {
  readonly #image: DefinitionImage;
  readonly #group: string | undefined;

  /** Use `scratch`, `image`, `context`, `files`, `merge` and `difference`. */
  constructor(step: StepBody, inputs: readonly Tree[] = [], config: DefinitionImage = {}, group?: string) {
    partsOf.set(this, { step, inputs });
    this.#image = config;
    this.#group = group;
  }

  /** A string runs in `/bin/sh -c`. */
  run(command: string | readonly string[], options: RunOptions = {}): Tree {
    const { mounts = [], services = [], ...rest } = options;
    const sources = mounts.flatMap((mount) => (mount.kind === 'bind' ? [mount.from] : []));
    const others = services.map(({ from }) => from);
    const args = typeof command === 'string' ? ['/bin/sh', '-c', command] : [...command];
    const name = options.name ?? (typeof command === 'string' ? command.trim().split('\n')[0] : args.join(' '));
    const { Env, User, WorkingDir } = this.#image;
    const step = {
      ...rest,
      kind: 'run' as const,
      name: `RUN ${name}`,
      base: '',
      args,
      env: { ...Env, ...options.env },
      user: options.user ?? User,
      workingDir: options.workingDir ?? WorkingDir,
      mounts: mounts.map((mount) => (mount.kind === 'bind' ? { ...mount, from: '' } : mount)),
      ...(services.length === 0 ? {} : { services: services.map((service) => ({ ...service, from: '' })) }),
    };
    return this.#next(step, [...sources, ...others]);
  }

  /** As COPY: a directory's content goes to `to`; without `paths`, all of it. */
  copy(from: Tree, to: string, options: CopyOptions & { readonly paths?: readonly string[] } = {}): Tree {
    const { paths = ['/'], ...rest } = options;
    const absolute = paths.map((path) => (path.startsWith('/') ? path : `/${path}`));
    const shown = `COPY ${absolute.join(' ')} ${to}`;
    return this.#next({ ...rest, kind: 'copy', name: shown, base: '', from: '', paths: absolute, to }, [from]);
  }

  /** Makes a directory and its parents. */
  mkdir(path: string, options: { readonly mode?: number; readonly owner?: string } = {}): Tree {
    return this.#next({ ...options, kind: 'mkdir', base: '', path }, []);
  }

  /** Small files, by absolute path. */
  write(contents: Readonly<Record<string, string | { readonly text: string; readonly mode?: number }>>): Tree {
    return this.copy(files(contents), '/');
  }

  /** What images and later `run`s of this tree have besides. `Env` and `Labels` add, everything else replaces. */
  with(config: DefinitionImage): Tree {
    const { Env, Labels, ...rest } = config;
    const merged: DefinitionImage = {
      ...this.#image,
      ...rest,
      ...(Env === undefined ? {} : { Env: { ...this.#image.Env, ...Env } }),
      ...(Labels === undefined ? {} : { Labels: { ...this.#image.Labels, ...Labels } }),
    };
    const { step, inputs } = partsOf.get(this) as Parts;
    return new Tree(step, inputs, merged, this.#group);
  }

  /** What is done to this tree from here on is in one group: it shares one layer, where layers follow the steps. Without a name every step has its own again. */
  layer(group?: string): Tree {
    const { step, inputs } = partsOf.get(this) as Parts;
    return new Tree(step, inputs, this.#image, group);
  }

  #next(step: StepBody, others: readonly Tree[]): Tree {
    const grouped = this.#group === undefined || step.group !== undefined ? step : { ...step, group: this.#group };
    return new Tree(grouped, [this, ...others], this.#image, this.#group);
  }

  env(name: string, value: string): Tree {
    return this.with({ Env: { [name]: value } });
  }

  /** What `with` and `env` have added. */
  get config(): DefinitionImage {
    return this.#image;
  }

  /** The definition that has this tree as its target. */
  definition(): BuildDefinition {
    const writer = new Writer();
    const target = writer.id(this);
    return { slipwayBuild: 1, steps: writer.steps, target, image: this.#image };
  }
}

/** Gives steps their ids: equal steps one. */
class Writer {
  readonly steps: DefinitionStep[] = [];
  readonly #known = new Map<string, string>();
  readonly #done = new Map<StepBody, string>();

  /** With a stack of its own: a chain of steps may be longer than the call stack is deep. */
  id(target: Tree): string {
    const open: Tree[] = [target];
    for (let tree = open.at(-1); tree !== undefined; tree = open.at(-1)) {
      const { step, inputs } = partsOf.get(tree) as Parts;
      const missing = inputs.filter((input) => this.#idOf(input) === undefined);
      if (missing.length > 0) {
        open.push(...missing);
        continue;
      }
      open.pop();
      if (!this.#done.has(step))
        this.#done.set(
          step,
          this.#write(
            withInputs(
              step,
              inputs.map((input) => this.#idOf(input) ?? ''),
            ),
          ),
        );
    }
    return this.#idOf(target) ?? '';
  }

  #idOf(tree: Tree): string | undefined {
    return this.#done.get((partsOf.get(tree) as Parts).step);
  }

  #write(step: StepBody): string {
    const text = JSON.stringify(step);
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const id = `s${this.steps.length + 1}`;
    this.steps.push({ id, ...step } as DefinitionStep);
    this.#known.set(text, id);
    return id;
  }
}

function withInputs(step: StepBody, [first = '', ...rest]: readonly string[]): StepBody {
  switch (step.kind) {
    case 'copy':
      return { ...step, base: first, from: rest[0] ?? '' };
    case 'run': {
      const sources = [...rest];
      const mounts = (step.mounts ?? []).map((mount) => (mount.kind === 'bind' ? { ...mount, from: sources.shift() ?? '' } : mount));
      const services = step.services?.map((service) => ({ ...service, from: sources.shift() ?? '' }));
      return { ...step, base: first, mounts, ...(services === undefined ? {} : { services }) };
    }
    case 'mkdir':
      return { ...step, base: first };
    case 'merge':
      return { ...step, trees: [first, ...rest] };
    case 'difference':
      return { ...step, lower: first, upper: rest[0] ?? '' };
    default:
      return step;
  }
}

/** Nothing. */
export function scratch(): Tree {
  return new Tree({ kind: 'scratch' });
}

/** An image's files and configuration. */
export function image(reference: string): Tree {
  return new Tree({ kind: 'image', reference });
}

/** The folder that was given to `slipway build`, without what .dockerignore leaves out. */
export function context(): Tree {
  return new Tree({ kind: 'context' });
}

export function files(contents: Readonly<Record<string, string | { readonly text: string; readonly mode?: number }>>): Tree {
  const list = Object.entries(contents).map(([path, content]) => ({
    path,
    ...(typeof content === 'string' ? { text: content } : content),
  }));
  return new Tree({ kind: 'files', files: list });
}

/** A file from the network, alone in its tree, or with `unpack` what the archive holds that it is. */
export function http(
  url: string,
  options: { readonly checksum?: string; readonly filename?: string; readonly unpack?: boolean } = {},
): Tree {
  return new Tree({ kind: 'http', url, ...options });
}

/** A commit of a repository, checked out: `https://HOST/PATH.git#REF:FOLDER`, as ADD takes it. */
export function git(url: string, options: { readonly keepGitDirectory?: boolean; readonly checksum?: string } = {}): Tree {
  return new Tree({ kind: 'git', url, ...options });
}

/** One over the other: directories merge, everything else replaces. Trees that were made side by side become one without a step running again. The first one's configuration holds. */
export function merge(...trees: readonly [Tree, ...Tree[]]): Tree {
  return new Tree({ kind: 'merge', name: `MERGE of ${trees.length} trees`, trees: [] }, trees, trees[0].config);
}

/** What `upper` has and `lower` has not. */
export function difference(lower: Tree, upper: Tree): Tree {
  return new Tree({ kind: 'difference', lower: '', upper: '' }, [lower, upper]);
}

/** A folder that is kept from build to build. */
export function cache(target: string, options: { readonly id?: string; readonly sharing?: 'shared' | 'private' | 'locked' } = {}): Mount {
  return { kind: 'cache', target, ...options };
}

/** Another tree's files while the command runs. */
export function bind(from: Tree, target: string, options: { readonly path?: string; readonly writable?: boolean } = {}): Mount {
  return { kind: 'bind', from, target, ...options };
}

/** A folder in memory while the command runs. */
export function tmpfs(target: string, options: { readonly sizeBytes?: number } = {}): Mount {
  return { kind: 'tmpfs', target, ...options };
}

/** A value of `--secret` while the command runs: in `/run/secrets/<id>`, the file `target` or the variable `env`. */
export function secret(id: string, options: Omit<Extract<DefinitionMount, { kind: 'secret' }>, 'kind' | 'id'> = {}): Mount {
  return { kind: 'secret', id, ...options };
}

/** The agent of `--ssh` while the command runs; SSH_AUTH_SOCK names its socket. */
export function ssh(options: Omit<Extract<DefinitionMount, { kind: 'ssh' }>, 'kind'> = {}): Mount {
  return { kind: 'ssh', ...options };
}

export type Axes = Readonly<Record<string, readonly (string | number | boolean)[]>>;
/** One value of each axis. */
export type Cell<A extends Axes> = { readonly [K in keyof A]: A[K][number] };

/**
 * What is made for each combination of values, the last axis fastest:
 *
 *     matrix({ node: ['22', '24'], os: ['bookworm', 'trixie'] }, ({ node, os }) => image(`node:${node}-${os}`).run('npm test'))
 */
export function matrix<const A extends Axes, R>(axes: A, make: (cell: Cell<A>) => R): R[] {
  let cells: Record<string, string | number | boolean>[] = [{}];
  for (const [name, values] of Object.entries(axes)) cells = cells.flatMap((cell) => values.map((value) => ({ ...cell, [name]: value })));
  return cells.map((cell) => make(cell as Cell<A>));
}

export type Describe = (input: BuildInput) => Tree | Promise<Tree>;

/** A module's default export. */
export function build(describe: Describe): Describe {
  return describe;
}
