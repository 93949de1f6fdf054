import type { GraphBuilder } from '../graph/builder.ts';
import type { VertexId } from '../graph/vertex.ts';
import type { StepOptions } from '../step-options.ts';
import type { Checks } from './checks.ts';
import type { Variables } from './environment.ts';
import type { Location, Source } from './source.ts';

/** A path of the context that some step reads. */
export type ContextPath = { readonly path: string; readonly wildcard: boolean };

/** What an instruction may ask of the Dockerfile around it. */
export type Surroundings = {
  readonly graph: GraphBuilder;
  readonly source: Source;
  readonly escape: string;
  readonly globals: Variables;
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly noCache: boolean;
  /** Of the stage's RUN steps. */
  readonly cacheTtlMs: number | undefined;
  readonly invalidateSecrets: readonly string[];
  /** For the processes of RUN. */
  readonly processes: NonNullable<StepOptions['processes']>;
  readonly networkMode: 'default' | 'none' | 'host';
  /** The stage's platform, when it is not this host's. */
  readonly foreignPlatform: string | undefined;
  /** For this instruction. */
  readonly checks: Checks;
  /** Unset variables that this instruction has been told of. */
  readonly told: Set<string>;
  /** Whether .dockerignore leaves a path of the context out for certain. */
  readonly isIgnored: (path: string) => boolean;
  /** The base image's trigger, not the Dockerfile's own instruction. */
  readonly isTrigger: boolean;
  useArg(name: string): void;
  useContext(path: ContextPath): void;
  resolveFrom(name: string, location: Location): Promise<VertexId>;
  lineage(text: string): string;
};
