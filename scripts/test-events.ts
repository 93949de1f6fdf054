import type { TestEvent } from 'node:test/reporters';

/** What a test did, as one line of JSON. `starts` comes before what it contains; a test of which nothing else comes never ended. */
export type TestLine = {
  readonly what: 'starts' | 'passed' | 'failed' | 'skipped';
  readonly name: string;
  /** How many tests it is inside of. */
  readonly depth: number;
  readonly ms: number;
  /** A group of tests, which is not counted. */
  readonly group: boolean;
  /** Why it failed; '' when it failed only because of what it contains. */
  readonly error: string;
  readonly line: number;
};

/** A reporter for `node --test-reporter`: lines for scripts/test.ts. */
export default async function* lines(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    const line = lineOf(event);
    if (line !== undefined) yield `${JSON.stringify(line)}\n`;
  }
}

function lineOf(event: TestEvent): TestLine | undefined {
  if (event.type === 'test:dequeue') {
    const { name, nesting, line } = event.data;
    return { what: 'starts', name, depth: nesting, ms: 0, group: false, error: '', line: line ?? 0 };
  }
  if (event.type !== 'test:pass' && event.type !== 'test:fail') return undefined;
  const { name, nesting, details, skip, todo, line } = event.data;
  const excused = (skip ?? todo ?? false) !== false;
  return {
    what: excused ? 'skipped' : event.type === 'test:pass' ? 'passed' : 'failed',
    name,
    depth: nesting,
    ms: Math.round(details.duration_ms),
    group: details.type === 'suite',
    error: event.type === 'test:fail' ? wordsOf(event.data.details.error) : '',
    line: line ?? 0,
  };
}

/** The stack of what was thrown, and of its causes, without Node's own frames. */
function wordsOf(error: Error & { failureType?: string }): string {
  if (error.failureType === 'subtestsFailed') return '';
  const words: string[] = [];
  let each: unknown = error.cause ?? error;
  for (let depth = 0; depth < 4 && each !== undefined && each !== null; depth++) {
    const text = each instanceof Error ? (each.stack ?? each.message) : typeof each === 'string' ? each : JSON.stringify(each);
    words.push(text.replaceAll(/\n +at ([^\n]*\(?node:|[^\n]*\(<anonymous>\))[^\n]*/g, ''));
    each = each instanceof Error ? each.cause : undefined;
  }
  return words.join('\ncaused by: ').slice(0, 8_000) || 'it threw nothing that can be told';
}
