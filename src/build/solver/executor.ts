import type { StepTraffic } from '../../runtime/port.ts';
import type { TreeRef } from '../../store/model.ts';
import type { Lease } from '../../store/port.ts';
import type { StepDebugger } from '../debug.ts';
import type { Operation, Vertex } from '../graph/vertex.ts';
import type { SecretProviders } from '../secrets.ts';

/** Kinds of work that are limited together, over all builds of the engine. */
export type LimitKind = 'process' | 'files';

/** A thing that a step's result depends on, by name for people and by digest for the key. */
export type Read = { readonly what: string; readonly digest: string };

export type StepContext = {
  readonly vertex: Vertex;
  readonly inputs: readonly TreeRef[];
  /** What each input is, for errors. */
  readonly inputNames: readonly string[];
  /** What stands for a tree in a key: its content digest, or its id where times count. */
  readonly identity: (tree: TreeRef) => string;
  /** Times are kept as they come, so a key must tell trees apart that differ in nothing else. */
  readonly timesCount: boolean;
  readonly signal: AbortSignal;
  /** Holds what the step makes until its result is taken over. */
  readonly lease: Lease;
  readonly onOutput: (stream: 'stdout' | 'stderr', data: Buffer) => void;
  /** What a process of the step sent and got, for whoever keeps account of it. */
  readonly onTraffic?: ((traffic: readonly StepTraffic[]) => void) | undefined;
  /** Whoever wants to look into the step when it fails for good. */
  readonly debug?: StepDebugger | undefined;
  /** From here on the step only waits: others may run in its place, and its time does not go on. */
  readonly leavePlace?: (() => void) | undefined;
  readonly onWarning: (message: string, line?: number) => void;
  /** Secrets and ssh agents of the build that runs the step. */
  readonly providers: SecretProviders;
  /** Why a path may be missing from an input, as a hint. */
  readonly explainMissing: (input: number, path: string) => string | undefined;
};

/** A step whose inputs are known and looked at, but which has not run. */
export type Prepared = { readonly reads: readonly Read[]; execute(context: StepContext): Promise<TreeRef> };

/**
 * Does one kind of operation. `prepare` is cheap (no mount, no process) and says what of the inputs counts; `execute` makes the tree and is only
 * called when no earlier result has the same key. It leaves nothing behind when it fails or is aborted.
 */
export interface Executor<O extends Operation> {
  readonly limit: LimitKind;
  /** The result's times are those of the run, so unchanged files take the earlier run's. */
  readonly volatileTimes: boolean;
  /** Its times are its purpose: a tree that differs from another one in nothing else is not that one. */
  readonly exactTimes?: boolean;
  prepare(operation: O, context: StepContext): Promise<Prepared>;
  /** What it reads that is neither in the operation nor in an input: part of both its keys, so told before any input is there. */
  readsOutside?(operation: O, providers: SecretProviders): Promise<readonly Read[]>;
}

/** Operations that are looked up or run; the others (image, context, scratch) are given. */
export type SolvedOperation = Extract<Operation, { kind: 'inline' | 'copy' | 'mkdir' | 'run' | 'clamp' | 'merge' | 'difference' }>;
export type Executors = { readonly [K in SolvedOperation['kind']]: Executor<Extract<SolvedOperation, { kind: K }>> };
