import type { TestLine } from './test-events.ts';

export type Failure = { readonly where: string; readonly error: string };
export type FileResult = {
  readonly file: string;
  readonly ms: number;
  readonly passed: number;
  readonly skipped: number;
  readonly failures: readonly Failure[];
  readonly left: readonly string[];
  /** What people read of it, with a line for each test. */
  readonly text: string;
};
/** How the process of a file ended (`status` is '' for well), what it printed, and what it left in its temporary folder. */
export type Ending = { readonly status: string; readonly ms: number; readonly log: string; readonly left: readonly string[] };

/** The failures, all of them together: what a log shows that is cut off above. */
const closingHeight = 150;
const widest = 300;

export function resultOf(file: string, lines: readonly TestLine[], { status, ms, log, left }: Ending): FileResult {
  let [passed, skipped] = [0, 0];
  const failures: Failure[] = [];
  const text: string[] = [];
  const open: string[] = [];
  for (const { what, name, depth, group, error, line, ms: took } of lines) {
    if (what === 'starts') {
      open.push(name);
      continue;
    }
    open.splice(open.lastIndexOf(name), open.includes(name) ? 1 : 0);
    if (!group && what === 'passed') passed++;
    if (!group && what === 'skipped') skipped++;
    const sign = { passed: '✔', failed: '✖', skipped: '﹣' }[what];
    text.push(`${'  '.repeat(depth + 1)}${sign} ${name}${took < 100 ? '' : ` (${(took / 1000).toFixed(1)} s)`}`);
    if (what === 'failed')
      text.push(
        ...error
          .split('\n')
          .slice(0, 40)
          .map((each) => `${'  '.repeat(depth + 2)}${each}`),
      );
    if (what === 'failed' && error !== '') failures.push({ where: `${file}:${line}: ${name} (${took} ms)`, error });
  }
  // What no test has told: the process was ended, or something was thrown outside of any.
  if (status !== '' && (failures.length === 0 || open.length > 0)) {
    const during = open.length === 0 ? '' : ` during: ${open.join(' > ')}`;
    failures.push({ where: file, error: `the file ${status}${during}\n${log.slice(-4000)}` });
  } else if (open.length > 0 || lines.length === 0) {
    failures.push({
      where: file,
      error: open.length === 0 ? 'it ended before it told of any test' : `it ended during: ${open.join(' > ')}`,
    });
  }
  const head = `\n${failures.length === 0 ? '✔' : '✖'} ${file} (${(ms / 1000).toFixed(1)} s)\n`;
  const printed = log.trim() === '' || failures.length === 0 ? '' : `${log.trim().slice(-8000)}\n`;
  const kept = left.length === 0 ? '' : `  left behind: ${left.join(', ')}\n`;
  return { file, ms, passed, skipped, failures, left, text: `${head}${text.map((each) => `${each}\n`).join('')}${printed}${kept}` };
}

/** The slowest files, what was left behind, every failure with its reason, and the counts as the last line. */
export function closingLines(files: readonly FileResult[], checks: readonly Failure[]): string {
  const failures = [...checks, ...files.flatMap((each) => each.failures)];
  const slowest = [...files].sort((a, b) => b.ms - a.ms).slice(0, 10);
  const said = [
    '',
    `slowest: ${slowest.map(({ file, ms }) => `${file} ${(ms / 1000).toFixed(0)} s`).join(', ')}`,
    ...files.filter(({ left }) => left.length > 0).map(({ file, left }) => `left behind by ${file}: ${left.join(', ').slice(0, widest)}`),
  ];
  const height = Math.max(1, Math.floor(closingHeight / Math.max(1, failures.length)) - 2);
  for (const { where, error } of failures) {
    const lines = error.split('\n').filter((line) => line.trim() !== '');
    said.push('', `✖ ${where}`, ...lines.slice(0, height).map((line) => `    ${line.slice(0, widest)}`));
    if (lines.length > height) said.push(`    … ${lines.length - height} lines more above`);
  }
  const count = (of: 'passed' | 'skipped') => files.reduce((sum, each) => sum + each[of], 0);
  return [...said, '', `${count('passed')} passed, ${failures.length} failed, ${count('skipped')} skipped`, ''].join('\n');
}
