/** Runs `act` on every item, at most `limit` at once. The first failure stops the rest: its signal aborts what runs, and nothing more begins. */
export async function limited<T>(
  items: readonly T[],
  limit: number,
  signal: AbortSignal | undefined,
  act: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const stop = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
  const rest = items[Symbol.iterator]();
  const work = async () => {
    for (const item of rest) {
      stop.throwIfAborted();
      await act(item, stop);
    }
  };
  const first: { error?: unknown } = {};
  const workers = Array.from({ length: Math.min(limit, items.length) }, () =>
    work().catch((error: unknown) => {
      if (!('error' in first)) first.error = error;
      failed.abort(error);
    }),
  );
  await Promise.all(workers);
  if ('error' in first) throw first.error;
}
