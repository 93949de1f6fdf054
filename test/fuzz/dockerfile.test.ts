// biome-ignore-all lint/suspicious/noTemplateCurlyInString: Dockerfile variables are the subject
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EngineError } from '../../src/base/errors.ts';
import { parseCheckOptions } from '../../src/build/dockerfile/checks.ts';
import { ExpansionError, expand } from '../../src/build/dockerfile/expand.ts';
import { GitReferenceError, parseGitReference } from '../../src/build/dockerfile/git-reference.ts';
import { lowerDockerfile } from '../../src/build/dockerfile/lower.ts';
import { parseDockerfile } from '../../src/build/dockerfile/parser.ts';
import { instructionNames } from '../../src/build/dockerfile/syntax.ts';
import { parseModeChange } from '../../src/build/steps/mode-change.ts';
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

const instruction = fc.constantFrom(
  'COPY --parents /a/./b/**/c $x /d/',
  'ADD http://a/b?c#d https://a/b.git#c:d /e',
  'ADD --checksum=sha256:0 --unpack http://a/b /e',
  'RUN --mount=type=secret,id=a,env=B --mount=type=ssh,mode=0777 --mount=type=cache,target=c,from=s true',
  'RUN --mount=type=tmpfs,target=/t,size=1m <<EOF\nx\nEOF',
  'ARG a=${b:-c} b TOKEN=$a',
  'ENV a=${a%%.*} ${b//x/y}=z',
  'EXPOSE 1-3/TCP [::1]:80:80 $a',
  'HEALTHCHECK --start-interval=3s CMD x',
  'ONBUILD COPY --from=s /a /b',
  'FROM s AS t',
  'FROM $a AS Context',
  '# check=skip=all',
  'WORKDIR a/../$b',
  'COPY --chmod=u=rwX,go-w a* b[ /c',
);

test('the way from text to graph throws nothing but EngineError that shows its place', async () => {
  const text = fc
    .array(fc.oneof(instruction, document), { maxLength: 12 })
    .map((lines) => `ARG a=s\nFROM scratch AS s\n${lines.join('\n')}`);
  await fc.assert(
    fc.asyncProperty(text, fc.constantFrom('', 'skip=all', 'error=true;skip=StageNameCasing'), async (definition, checks) => {
      try {
        await lowerDockerfile(parseDockerfile(definition), {
          buildArgs: checks === '' ? {} : { BUILDKIT_DOCKERFILE_CHECK: checks },
          labels: {},
          noCache: false,
          networkMode: 'none',
          ignore: ['*', '.git'],
          contexts: { lib: { kind: 'files' }, far: { kind: 'remote', url: 'https://a/b.git' } },
          resolveImage: async (name) => {
            throw new EngineError('NotFound', 'IMAGE_NOT_FOUND', `there is no image ${name}`);
          },
        });
      } catch (error) {
        if (!(error instanceof EngineError)) throw error;
        assert.match(error.message, /^Dockerfile:\d+:\d+: /);
      }
    }),
    { numRuns: 1000 },
  );
});

test('the small parsers of flags throw nothing else, in bounded time', () => {
  const pieces = fc.constantFrom(
    'git@a:b',
    'https://',
    'a.git',
    '#',
    ':',
    '?',
    '&',
    'ref=',
    'tag=v',
    'subdir=../..',
    '%',
    '%2f',
    'u+x',
    ',',
    '=',
    '-',
    'rwxXst',
    'ugoa',
    'skip=',
    ';',
    'error=true',
    ' ',
  );
  const text = fc.array(fc.oneof(pieces, fc.string({ maxLength: 4 })), { maxLength: 30 }).map((parts) => parts.join(''));
  fc.assert(
    fc.property(text, (given) => {
      within(200, () => {
        try {
          assert.ok(!(parseGitReference(given)?.subdirectory ?? '').split('/').includes('..'));
        } catch (error) {
          if (!(error instanceof GitReferenceError)) throw error;
        }
        const mode = parseModeChange(given)?.(0o644, false) ?? 0;
        assert.ok(mode >= 0 && mode <= 0o7777);
        try {
          parseCheckOptions(given, (message) => new EngineError('InvalidArgument', 'CHECK_INVALID', message));
        } catch (error) {
          if (!(error instanceof EngineError)) throw error;
        }
      });
    }),
    { numRuns: 3000 },
  );
});
