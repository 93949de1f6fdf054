/** Runs tasks one after the other, in the order of the calls. A task that fails does not stop those behind it. */
export class Serial {
  private last: Promise<unknown> = Promise.resolve();

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.last.then(task);
    this.last = result.catch(() => {});
    return result;
  }
}

/**
 * A task that brings something in line with a state. Calls that come while it runs share one further run, which begins when that has ended: each
 * resolves after a run that began after the call.
 */
export class Coalesced {
  private readonly task: () => Promise<void>;
  private current: Promise<unknown> = Promise.resolve();
  private next: Promise<void> | undefined;

  constructor(task: () => Promise<void>) {
    this.task = task;
  }

  run(): Promise<void> {
    if (this.next !== undefined) return this.next;
    const next = this.current.then(() => {
      this.next = undefined;
      return this.task();
    });
    this.next = next;
    this.current = next.catch(() => {});
    return next;
  }
}
