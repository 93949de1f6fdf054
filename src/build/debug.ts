import type { FailedStep } from '../runtime/port.ts';

/** A step that has failed, with all that it had still in place. */
export type DebuggedStep = {
  readonly vertex: string;
  readonly name: string;
  /** How it failed, for people. */
  readonly message: string;
  readonly open: FailedStep['open'];
};

/** Whoever looks into the failed steps of a build. */
export interface StepDebugger {
  /** Settles when it has seen enough, or `signal` aborts. What it has opened is ended afterwards. Never rejects. */
  offer(step: DebuggedStep, signal: AbortSignal): Promise<void>;
}
