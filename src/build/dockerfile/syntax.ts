import type { Healthcheck } from '../../oci/image.ts';
import type { StepDevice } from './devices.ts';
import type { Location, Source } from './source.ts';
import type { Word } from './words.ts';

/** The syntax tree of a Dockerfile (Dockerfile reference, syntax 1.26). Nothing is expanded in it yet. */
export type Dockerfile = {
  readonly source: Source;
  readonly escape: string;
  readonly directives: Directives;
  /** ARG instructions before the first FROM. */
  readonly globalArgs: readonly ArgInstruction[];
  readonly stages: readonly Stage[];
  /** Instructions with an empty line inside. */
  readonly emptyContinuations: readonly Location[];
};

/** `# name=value` lines at the top. */
export type Directives = {
  readonly syntax?: string | undefined;
  readonly check?: { readonly value: string; readonly location: Location } | undefined;
};

export type Stage = {
  readonly from: FromInstruction;
  readonly instructions: readonly Instruction[];
};

export type Heredoc = {
  readonly name: string;
  readonly fileDescriptor: number;
  /** The word was not quoted, so variables in the body are replaced. */
  readonly expand: boolean;
  /** `<<-`: leading tabs are removed. Already done in `content`. */
  readonly chomp: boolean;
  readonly content: string;
};

/** What all instructions have. */
export type Common = {
  readonly location: Location;
  /** The instruction as written, continuation lines joined, without heredoc bodies. */
  readonly text: string;
  readonly keyword: string;
  /** Comment lines between the instruction before and this one, without `#`; an empty one forgets those before it. */
  readonly comments: readonly string[];
};

export type FromInstruction = Common & {
  readonly kind: 'FROM';
  readonly base: string;
  readonly name?: string | undefined;
  /** AS and the name as written. */
  readonly written?: { readonly as: string; readonly name: string } | undefined;
  readonly platform?: string | undefined;
};
export type KeyValue = { readonly key: string; readonly value: string /** `ENV key value`, the old form. */; readonly legacy: boolean };
export type EnvInstruction = Common & { readonly kind: 'ENV'; readonly pairs: readonly KeyValue[] };
export type LabelInstruction = Common & { readonly kind: 'LABEL'; readonly pairs: readonly KeyValue[] };
export type ArgInstruction = Common & {
  readonly kind: 'ARG';
  readonly args: readonly { readonly key: string; readonly value?: string | undefined }[];
};

export type CopySourceWord = { readonly path: string; readonly location: Location };
export type CopyInstruction = Common & {
  readonly kind: 'COPY' | 'ADD';
  readonly sources: readonly CopySourceWord[];
  readonly heredocs: readonly Heredoc[];
  readonly destination: string;
  readonly from?: string | undefined;
  readonly fromLocation?: Location | undefined;
  readonly chown?: string | undefined;
  readonly chmod?: string | undefined;
  readonly link: boolean;
  readonly parents: boolean;
  readonly excludes: readonly string[];
  readonly checksum?: string | undefined;
  readonly keepGitDir?: boolean | undefined;
  readonly unpack?: boolean | undefined;
};

/** A command in exec form (`shell` false) or as one line for the shell. */
export type CommandLine = { readonly args: readonly string[]; readonly shell: boolean };
export type MountFlag = { readonly text: string; readonly location: Location };
export type RunInstruction = Common &
  CommandLine & {
    readonly kind: 'RUN';
    readonly heredocs: readonly Heredoc[];
    readonly mounts: readonly MountFlag[];
    readonly network: 'default' | 'none' | 'host';
    readonly security: 'sandbox' | 'insecure';
    readonly devices: readonly StepDevice[];
  };
export type CmdInstruction = Common & CommandLine & { readonly kind: 'CMD' };
export type EntrypointInstruction = Common & CommandLine & { readonly kind: 'ENTRYPOINT' };
export type ShellInstruction = Common & { readonly kind: 'SHELL'; readonly shell: readonly string[] };
export type HealthcheckInstruction = Common & { readonly kind: 'HEALTHCHECK'; readonly healthcheck: Healthcheck };
export type ExposeInstruction = Common & { readonly kind: 'EXPOSE'; readonly ports: readonly string[] };
export type VolumeInstruction = Common & { readonly kind: 'VOLUME'; readonly volumes: readonly string[] };
export type WordInstruction = Common & { readonly kind: 'WORKDIR' | 'USER' | 'STOPSIGNAL' | 'MAINTAINER'; readonly value: string };
export type OnbuildInstruction = Common & { readonly kind: 'ONBUILD'; readonly trigger: string };

export type Instruction =
  | EnvInstruction
  | LabelInstruction
  | ArgInstruction
  | CopyInstruction
  | RunInstruction
  | CmdInstruction
  | EntrypointInstruction
  | ShellInstruction
  | HealthcheckInstruction
  | ExposeInstruction
  | VolumeInstruction
  | WordInstruction
  | OnbuildInstruction;

export const instructionNames = [
  'ADD',
  'ARG',
  'CMD',
  'COPY',
  'ENTRYPOINT',
  'ENV',
  'EXPOSE',
  'FROM',
  'HEALTHCHECK',
  'LABEL',
  'MAINTAINER',
  'ONBUILD',
  'RUN',
  'SHELL',
  'STOPSIGNAL',
  'USER',
  'VOLUME',
  'WORKDIR',
] as const;
export type InstructionName = (typeof instructionNames)[number];

/** One instruction after line joining: its keyword, flags and the rest, with a way back to line and column. */
export type Line = {
  readonly source: Source;
  readonly escape: string;
  readonly keyword: string;
  readonly flags: readonly Word[];
  /** What follows keyword and flags, trimmed. */
  readonly rest: string;
  /** Where `rest` begins in `text`. */
  readonly restOffset: number;
  readonly text: string;
  readonly heredocs: readonly Heredoc[];
  readonly comments: readonly string[];
  readonly location: Location;
  /** The place of an offset in `text`. */
  locate(offset: number, length?: number): Location;
};
