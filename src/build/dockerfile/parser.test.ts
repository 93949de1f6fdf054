// biome-ignore-all lint/suspicious/noTemplateCurlyInString: Dockerfile variables are the subject
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../../base/errors.ts';
import { parseDockerfile } from './parser.ts';
import type { Instruction } from './syntax.ts';

/** The one instruction after `FROM scratch`, without its place. */
function parseOne(text: string): Record<string, unknown> {
  const [stage] = parseDockerfile(`FROM scratch\n${text}\n`).stages;
  const instructions: readonly Instruction[] = stage?.instructions ?? [];
  assert.equal(instructions.length, 1);
  const {
    location: _location,
    text: _text,
    keyword: _keyword,
    comments: _comments,
    ...rest
  } = instructions[0] as Instruction & Record<string, unknown>;
  return rest;
}

const copy = { heredocs: [], from: undefined, fromLocation: undefined, chown: undefined, chmod: undefined, link: false, parents: false };
const noAdd = { excludes: [], checksum: undefined, keepGitDir: undefined, unpack: undefined };

const rows: [text: string, expected: Record<string, unknown>][] = [
  [
    'RUN echo hi',
    { kind: 'RUN', args: ['echo hi'], shell: true, heredocs: [], mounts: [], network: 'default', security: 'sandbox', devices: [] },
  ],
  [
    'run ["echo", "hi"]',
    { kind: 'RUN', args: ['echo', 'hi'], shell: false, heredocs: [], mounts: [], network: 'default', security: 'sandbox', devices: [] },
  ],
  [
    "RUN ['echo']",
    { kind: 'RUN', args: ["['echo']"], shell: true, heredocs: [], mounts: [], network: 'default', security: 'sandbox', devices: [] },
  ],
  [
    'RUN [ "$x" = y ]',
    { kind: 'RUN', args: ['[ "$x" = y ]'], shell: true, heredocs: [], mounts: [], network: 'default', security: 'sandbox', devices: [] },
  ],
  [
    'RUN --network=none make',
    { kind: 'RUN', args: ['make'], shell: true, heredocs: [], mounts: [], network: 'none', security: 'sandbox', devices: [] },
  ],
  ['CMD []', { kind: 'CMD', args: [], shell: false }],
  ['CMD echo  a', { kind: 'CMD', args: ['echo  a'], shell: true }],
  ['ENTRYPOINT ["/bin/x"]', { kind: 'ENTRYPOINT', args: ['/bin/x'], shell: false }],
  ['ENTRYPOINT', { kind: 'ENTRYPOINT', args: [], shell: true }],
  ['SHELL ["/bin/bash", "-c"]', { kind: 'SHELL', shell: ['/bin/bash', '-c'] }],
  ['ENV a=b', { kind: 'ENV', pairs: [{ key: 'a', value: 'b', legacy: false }] }],
  [
    'ENV a=b c="d e" f=g\\ h',
    {
      kind: 'ENV',
      pairs: [
        { key: 'a', value: 'b', legacy: false },
        { key: 'c', value: '"d e"', legacy: false },
        { key: 'f', value: 'g\\ h', legacy: false },
      ],
    },
  ],
  ['ENV a b  c', { kind: 'ENV', pairs: [{ key: 'a', value: 'b  c', legacy: true }] }],
  ['ENV a=', { kind: 'ENV', pairs: [{ key: 'a', value: '', legacy: false }] }],
  ['LABEL "a b"=c', { kind: 'LABEL', pairs: [{ key: '"a b"', value: 'c', legacy: false }] }],
  ['ARG a', { kind: 'ARG', args: [{ key: 'a' }] }],
  ['ARG a=b c d="e f"', { kind: 'ARG', args: [{ key: 'a', value: 'b' }, { key: 'c' }, { key: 'd', value: '"e f"' }] }],
  ['WORKDIR /a b', { kind: 'WORKDIR', value: '/a b' }],
  ['USER a:b', { kind: 'USER', value: 'a:b' }],
  ['STOPSIGNAL SIGKILL', { kind: 'STOPSIGNAL', value: 'SIGKILL' }],
  ['MAINTAINER A B <a@b>', { kind: 'MAINTAINER', value: 'A B <a@b>' }],
  ['EXPOSE 80 443/tcp 53/udp', { kind: 'EXPOSE', ports: ['443/tcp', '53/udp', '80'] }],
  ['VOLUME /a /b', { kind: 'VOLUME', volumes: ['/a', '/b'] }],
  ['VOLUME ["/a b"]', { kind: 'VOLUME', volumes: ['/a b'] }],
  ['ONBUILD COPY --chown=1 . /x', { kind: 'ONBUILD', trigger: 'COPY --chown=1 . /x' }],
  ['HEALTHCHECK NONE', { kind: 'HEALTHCHECK', healthcheck: { Test: ['NONE'] } }],
  ['HEALTHCHECK CMD curl x', { kind: 'HEALTHCHECK', healthcheck: { Test: ['CMD-SHELL', 'curl x'] } }],
  [
    'HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=0 --retries=3 CMD ["x"]',
    {
      kind: 'HEALTHCHECK',
      healthcheck: { Test: ['CMD', 'x'], Interval: 90e9, Timeout: 500e6, Retries: 3 },
    },
  ],
];

for (const [text, expected] of rows) {
  test(text, () => assert.deepEqual(parseOne(text), expected));
}

test('COPY takes its flags, sources and destination', () => {
  const { sources, ...parsed } = parseOne('COPY --from=build --chown=a:b --chmod=0644 --link --exclude=*.md --exclude=x a b/ /c/');
  assert.deepEqual(
    (sources as { path: string }[]).map((source) => source.path),
    ['a', 'b/'],
  );
  const { fromLocation, ...rest } = parsed;
  assert.deepEqual(fromLocation, { line: 2, column: 6, endLine: 2, length: 6 });
  assert.deepEqual(
    { ...rest, fromLocation: undefined },
    {
      kind: 'COPY',
      ...copy,
      ...noAdd,
      from: 'build',
      chown: 'a:b',
      chmod: '0644',
      link: true,
      excludes: ['*.md', 'x'],
      destination: '/c/',
    },
  );
});

test('COPY in JSON form keeps spaces', () => {
  const parsed = parseOne('COPY ["a b", "c d"]');
  assert.deepEqual(
    (parsed.sources as { path: string }[]).map((source) => source.path),
    ['a b'],
  );
  assert.equal(parsed.destination, 'c d');
});

test('lines are continued, comments and empty lines inside left out, and the place of each word is kept', () => {
  const file = parseDockerfile(
    '\u{feff}FROM a AS b\r\nRUN one \\\r\n  # comment\r\n\r\n    two \\   \r\n  three\r\nCOPY \\\n  x \\\n  y /\n',
  );
  const [run, copied] = file.stages[0]?.instructions ?? [];
  assert.equal(run?.text, 'RUN one     two   three');
  assert.deepEqual(run?.location, { line: 2, column: 1, endLine: 6, length: 3 });
  assert.equal(file.emptyContinuations[0]?.line, 6);
  assert.ok(copied?.kind === 'COPY');
  assert.deepEqual(
    copied.sources.map((source) => [source.path, source.location.line, source.location.column]),
    [
      ['x', 8, 3],
      ['y', 9, 3],
    ],
  );
});

test('the escape directive changes continuation and escaping', () => {
  const file = parseDockerfile('# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN one `\n two \\\nENV a=b` c\n');
  assert.equal(file.escape, '`');
  assert.equal(file.directives.syntax, 'docker/dockerfile:1');
  const [run, env] = file.stages[0]?.instructions ?? [];
  assert.equal(run?.text, 'RUN one  two \\');
  assert.ok(env?.kind === 'ENV');
  assert.deepEqual(env.pairs[0], { key: 'a', value: 'b` c', legacy: false });
});

test('a directive after another comment is a comment', () => {
  assert.equal(parseDockerfile('# hello\n# escape=`\nFROM a\n').escape, '\\');
});

test('heredocs: body, quoted word, leading tabs, several, and as a trigger', () => {
  const file = parseDockerfile(
    'FROM a\nRUN <<EOF\necho $x\n# kept\nEOF\nCOPY <<"A" <<-B /d/\none\nA\n\t\ttwo\n\tB\nRUN cat <<EOF > /x\nbody\nEOF\nONBUILD RUN <<E\nhi\nE\nRUN ["<<EOF"]\nRUN echo "<<not"\n',
  );
  const [run, copied, redirect, onbuild, exec, quoted] = file.stages[0]?.instructions ?? [];
  assert.ok(run?.kind === 'RUN' && copied?.kind === 'COPY' && redirect?.kind === 'RUN' && onbuild?.kind === 'ONBUILD');
  assert.deepEqual(run.heredocs, [{ name: 'EOF', fileDescriptor: 0, expand: true, chomp: false, content: 'echo $x\n# kept\n' }]);
  assert.deepEqual(run.args, ['<<EOF']);
  assert.equal(run.location.endLine, 5);
  assert.deepEqual(
    copied.heredocs.map((heredoc) => [heredoc.name, heredoc.expand, heredoc.content]),
    [
      ['A', false, 'one\n'],
      ['B', true, 'two\n'],
    ],
  );
  assert.deepEqual(
    redirect.heredocs.map((heredoc) => heredoc.content),
    ['body\n'],
  );
  assert.equal(onbuild.trigger, 'RUN <<E\nhi\nE');
  assert.ok(exec?.kind === 'RUN' && exec.heredocs.length === 0);
  assert.ok(quoted?.kind === 'RUN' && quoted.heredocs.length === 0);
});

test('ARG before FROM is global; stages keep their order and lower-case names', () => {
  const file = parseDockerfile('ARG v=1\nFROM --platform=linux/amd64 a:$v as Build\nRUN x\nFROM build\n');
  assert.deepEqual(file.globalArgs[0]?.args, [{ key: 'v', value: '1' }]);
  assert.deepEqual(
    file.stages.map((stage) => [stage.from.base, stage.from.name, stage.from.platform, stage.instructions.length]),
    [
      ['a:$v', 'build', 'linux/amd64', 1],
      ['build', undefined, undefined, 0],
    ],
  );
});

const faults: [text: string, message: RegExp, hint?: RegExp][] = [
  ['', /Dockerfile:1:1: .*no FROM/],
  ['# only a comment\n', /no FROM/],
  ['RUN x\nFROM a\n', /Dockerfile:1:1: RUN stands before the first FROM\n {2}1 \| RUN x\n {4}\| \^\^\^/],
  ['FROM a\nRNU make\n', /Dockerfile:2:1: unknown instruction RNU\n {2}2 \| RNU make\n {4}\| \^\^\^/, /Did you mean RUN\?/],
  ['FROM a\nWROKDIR /x\n', /unknown instruction WROKDIR/, /WORKDIR/],
  ['FROM a b\n', /FROM takes/],
  ['FROM a AS 1x\n', /Dockerfile:1:11: "1x" is not a stage name/],
  ['FROM a\nCOPY --form=x a b\n', /Dockerfile:2:6: COPY has no flag --form/, /Did you mean --from\?/],
  ['FROM a\nCOPY --from a b\n', /--from needs a value/],
  ['FROM a\nCOPY --link=maybe a b\n', /--link takes true or false/],
  ['FROM a\nCOPY --chown=1 --chown=2 a b\n', /--chown is given twice/],
  ['FROM a\nCOPY a\n', /needs a source and a destination/],
  ['FROM a\nCOPY a <<EOF\nEOF\n', /heredoc cannot be the destination/],
  ['FROM a\nRUN <<EOF\nnever ended\n', /Dockerfile:2:5: .*not ended by a line "EOF"/],
  ['FROM a\nENV x\n', /x has no value/],
  ['FROM a\nENV x=1 y\n', /"y" is not of the form/],
  ['FROM a\nENV =1\n', /empty/],
  ['FROM a\nSHELL bash\n', /SHELL takes a JSON array/],
  ['FROM a\nCMD ["a", 1]\n', /strings only/],
  ['FROM a\nVOLUME [""]\n', /names no path/],
  ['FROM a\nONBUILD FROM x\n', /FROM cannot be an ONBUILD trigger/],
  ['FROM a\nHEALTHCHECK MAYBE x\n', /CMD and a command/],
  ['FROM a\nHEALTHCHECK --interval=1 CMD x\n', /"1" is not a duration/],
  ['FROM a\nHEALTHCHECK --interval=1us CMD x\n', /less than a millisecond/],
  ['FROM a\nHEALTHCHECK --retries=-1 CMD x\n', /--retries/],
  ['FROM a\nRUN --network=bridge x\n', /--network is one of default, none, host/],
  ['FROM a\nRUN\n', /RUN needs a command/],
  ['FROM a\nWORKDIR\n', /WORKDIR needs/],
  ['FROM a\nRUN a \\\n  b\nUSR x\n', /Dockerfile:4:1/, /USER/],
  ['# escape=x\nFROM a\n', /escape character "x"/],
  ['# escape=\\\n# escape=\\\nFROM a\n', /escape directive is given twice/],
];

for (const [text, message, hint] of faults) {
  test(`refused: ${JSON.stringify(text)}`, () => {
    assert.throws(
      () => parseDockerfile(text),
      (error: unknown) => {
        assert.ok(error instanceof EngineError);
        assert.equal(error.kind, 'InvalidArgument');
        assert.match(error.message, message);
        if (hint !== undefined) assert.match(error.hint ?? '', hint);
        return true;
      },
    );
  });
}
