let latest = 0;

/** Sorts by when it was made. */
export function newId(kind: string, now = Date.now()): string {
  latest = Math.max(latest + 1, now * 1000);
  return `${kind}_${latest.toString(36)}`;
}
