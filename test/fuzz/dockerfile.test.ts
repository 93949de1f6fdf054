import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EngineError } from '../../src/base/errors.ts';
import { ExpansionError, expand } from '../../src/build/dockerfile/expand.ts';
import { parseDockerfile } from '../../src/build/dockerfile/parser.ts';
import { instructionNames } from '../../src/build/dockerfile/syntax.ts';
import { createIgnore } from '../../src/oci/ignore.ts';

const fragment = fc.oneof(
  fc.constantFrom(...instructionNames),
  fc.constantFrom(
    'FROM a AS b',
    '# escape=`',
    '\\',
    '`',
    '\n',
    '\r\n',
    ' ',
    '\t',
    '"',
    "'",
    '$',
    '${',
    '}',
    ':-',
    '//',
    '#',
    '%',
    '<<EOF',
    '<<-"E"',
    '\nEOF\n',
  ),
  fc.constantFrom(
    '--from=',
    '--mount=type=cache,target=/x',
    '--chown',
    '--',
    '["a","b"]',
    '[',
    ']',
    '=',
    ',',
    '\u{feff}',
    '\u0000',
    '*',
    '?',
    '**/',
    '!',
    '[^',
  ),
  fc.string({ unit: 'binary', maxLength: 8 }),
);
const document = fc.array(fragment, { maxLength: 60 }).map((parts) => parts.join(''));

function within(limitMs: number, action: () => void): void {
  const started = performance.now();
  action();
  assert.ok(performance.now() - started < limitMs, `took less than ${limitMs} ms`);
}

test('the Dockerfile parser throws nothing but EngineError, in bounded time', () => {
  fc.assert(
    fc.property(document, fc.boolean(), (text, withFrom) => {
      within(500, () => {
        try {
          parseDockerfile(withFrom ? `FROM a\n${text}` : text);
        } catch (error) {
          if (!(error instanceof EngineError)) throw error;
          assert.match(error.message, /^Dockerfile:\d+:\d+: /);
        }
      });
    }),
    { numRuns: 2000 },
  );
});

test('expansion throws nothing but ExpansionError, in bounded time', () => {
  fc.assert(
    fc.property(document, fc.string({ maxLength: 40 }), (text, value) => {
      within(1000, () => {
        try {
          expand(text, { get: (name) => (name.length % 2 === 0 ? value : undefined) });
        } catch (error) {
          if (!(error instanceof ExpansionError)) throw error;
        }
      });
    }),
    { numRuns: 2000 },
  );
});

test('a file that only text before an end mark distinguishes keeps its instructions', () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z ]{1,20}$/), { maxLength: 20 }), (commands) => {
      const wanted = commands.map((command) => command.trim()).filter((command) => command !== '');
      const text = ['FROM a', ...wanted.map((command) => `RUN ${command}`)].join('\n');
      const parsed = parseDockerfile(text).stages[0]?.instructions ?? [];
      assert.deepEqual(
        parsed.map((instruction) => (instruction.kind === 'RUN' ? instruction.args[0] : undefined)),
        wanted,
      );
    }),
    { numRuns: 300 },
  );
});

test('the .dockerignore matcher throws nothing but EngineError, in bounded time', () => {
  const path = fc.stringMatching(/^[a-c.*]{1,6}(\/[a-c.*]{1,6}){0,5}$/);
  fc.assert(
    fc.property(fc.array(document, { maxLength: 5 }), path, (lines, name) => {
      within(500, () => {
        try {
          const ignore = createIgnore(lines.flatMap((line) => line.split('\n')));
          ignore.ignores(name, true);
          ignore.mayContainIncluded(name);
        } catch (error) {
          if (!(error instanceof EngineError)) throw error;
        }
      });
    }),
    { numRuns: 1000 },
  );
});

test('text that would make a careless parser hang or overflow is refused or read quickly', () => {
  const bombs = [
    `FROM a\n${'ENV a=$a$a$a$a$a$a$a$a\n'.repeat(2000)}`,
    `FROM a\nRUN ${'\\\n'.repeat(100_000)}`,
    `FROM a\nRUN ${'['.repeat(100_000)}`,
    `FROM a\nCOPY ${'"'.repeat(99_999)} x`,
    `FROM a\nRUN ${'<<a '.repeat(20_000)}`,
    `FROM a\nENV ${'a='.repeat(100_000)}`,
    `FROM a\nCOPY --${'x'.repeat(100_000)} a b`,
    `${'x'.repeat(200_000)}\n`,
    `FROM a\nHEALTHCHECK --interval=${'1s'.repeat(50_000)}x CMD y`,
    `FROM a\nRUN ${' '.repeat(200_000)}x`,
    `FROM a\nEXPOSE ${'80 '.repeat(50_000)}`,
  ];
  for (const bomb of bombs) {
    within(3000, () => {
      try {
        parseDockerfile(bomb);
      } catch (error) {
        if (!(error instanceof EngineError)) throw error;
      }
    });
  }
});
