/** One row: every counted run, in `unit`, and the bound that the project has set itself. */
export type Measure = {
  name: string;
  unit: 's' | 'ms' | 'MB' | 'bytes';
  values: number[];
  aim?: number | undefined;
  note?: string | undefined;
  /** The name of the row that this one is compared with: Docker's. */
  peer?: string | undefined;
};

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}

/** Runs `work` once to warm up and then `runs` times; seconds for each. `before` is not counted. */
export async function time(
  name: string,
  runs: number,
  work: () => unknown,
  options: { before?: () => unknown; aim?: number; warmUp?: boolean; note?: string } = {},
): Promise<Measure> {
  const values: number[] = [];
  for (let run = options.warmUp === false ? 0 : -1; run < runs; run++) {
    await options.before?.();
    const start = performance.now();
    await work();
    if (run >= 0) values.push((performance.now() - start) / 1000);
  }
  return { name, unit: 's', values, aim: options.aim, note: options.note };
}

export function formatTable(measures: readonly Measure[]): string {
  const digits = (unit: Measure['unit']) => (unit === 's' ? 3 : 1);
  const rows = measures.map(({ name, unit, values, aim, note, peer }) => {
    const other = measures.find((measure) => measure.name === peer);
    const show = (value: number) => value.toFixed(digits(unit));
    return [
      name,
      `${show(median(values))} ${unit}`,
      `${show(Math.min(...values))}..${show(Math.max(...values))}`,
      String(values.length),
      aim === undefined ? '' : `<= ${aim} ${unit}`,
      other === undefined ? '' : `${(median(values) / median(other.values)).toFixed(2)} x`,
      note ?? '',
    ];
  });
  const table = [['measure', 'median', 'spread', 'runs', 'aim', 'of Docker', ''], ...rows];
  const widths = [0, 1, 2, 3, 4, 5, 6].map((column) => Math.max(...table.map((row) => (row[column] ?? '').length)));
  return `${table
    .map((row) =>
      row
        .map((cell, column) => (column === 0 || column === 6 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')}\n`;
}
