const gap = 3;
const minWidth = 10;

/** Columns aligned with spaces as Docker's tables: at least ten wide with three between, nothing after the last. */
export function renderTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.slice(0, -1).entries()) widths[at] = Math.max(widths[at] ?? minWidth, displayWidth(cell) + gap);
  }
  return rows
    .map((row) =>
      row.map((cell, at) => (at === row.length - 1 ? cell : cell + ' '.repeat((widths[at] ?? 0) - displayWidth(cell)))).join(''),
    )
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

function displayWidth(text: string): number {
  let width = 0;
  for (const _ of text) width++;
  return width;
}
