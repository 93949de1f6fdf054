/** Runs tasks one after the other, in the order of the calls. A task that fails does not stop those behind it. */
export class Serial {
  private last: Promise<unknown> = Promise.resolve();

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.last.then(task);
    this.last = result.catch(() => {});
    return result;
  }
}

/** Tasks that go side by side, up to a limit, and others that go alone. First come, first served. */
export class SharedLock {
  private readonly limit: number;
  private readonly waiting: { exclusive: boolean; start: () => void }[] = [];
  private running = 0;
  private alone = false;

  constructor(limit: number) {
    this.limit = limit;
  }

  async run<T>(mode: 'shared' | 'exclusive', task: () => Promise<T>): Promise<T> {
    await new Promise<void>((start) => {
      this.waiting.push({ exclusive: mode === 'exclusive', start });
      this.admit();
    });
    try {
      return await task();
    } finally {
      this.running--;
      this.alone = false;
      this.admit();
    }
  }

  private admit(): void {
    for (let next = this.waiting[0]; next !== undefined && this.hasRoomFor(next.exclusive); next = this.waiting[0]) {
      this.waiting.shift();
      this.running++;
      this.alone = next.exclusive;
      next.start();
    }
  }

  private hasRoomFor(exclusive: boolean): boolean {
    return exclusive ? this.running === 0 : !this.alone && this.running < this.limit;
  }
}
