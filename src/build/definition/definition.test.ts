import assert from 'node:assert/strict';
import { test } from 'node:test';
import { orderSteps } from './order.ts';
import { parseBuildDefinition } from './parse.ts';

const parse = (steps: unknown[], target = 'a', more: object = {}) =>
  parseBuildDefinition(JSON.stringify({ slipwayBuild: 1, steps, target, ...more }), 'build.json');
const order = (steps: unknown[], target = 'a') => orderSteps(parse(steps, target), 'build.json').map(({ id }) => id);

test('a definition with everything in it is read as it is', () => {
  const definition = {
    slipwayBuild: 1,
    steps: [
      { id: 'a', kind: 'image', reference: 'debian:12' },
      { id: 'ctx', kind: 'context' },
      { id: 's', name: 'nothing', kind: 'scratch' },
      { id: 'f', kind: 'files', files: [{ path: '/x', text: '', mode: 0o4755 }] },
      { id: 'c', kind: 'copy', base: 'a', from: 'ctx', paths: ['/src/*'], to: '/app/', owner: 'me', mode: 0, exclude: ['*.md'] },
      { id: 'm', kind: 'mkdir', base: 'c', path: '/d', mode: 0o700, owner: '1:1' },
      {
        id: 'r',
        kind: 'run',
        base: 'm',
        args: ['x'],
        env: { A: '' },
        user: 'u',
        workingDir: '/w',
        network: 'none',
        mounts: [
          { kind: 'cache', target: '/c', id: 'i', sharing: 'private' },
          { kind: 'bind', target: '/b', from: 'ctx', path: '/src', writable: true },
          { kind: 'tmpfs', target: '/t', sizeBytes: 1 },
        ],
        timeoutMs: 1000,
        retries: 3,
      },
      { id: 'g', kind: 'merge', trees: ['r', 'f'] },
      { id: 'd', kind: 'difference', lower: 'a', upper: 'g' },
    ],
    target: 'd',
    image: { Env: { P: 'q' }, Cmd: ['c'], ExposedPorts: ['80'] },
  };
  assert.deepEqual(parseBuildDefinition(JSON.stringify(definition), 'x'), definition);
});

test('mistakes are told with their place, and what was meant', () => {
  const image = { id: 'a', kind: 'image', reference: 'x' };
  const wrong: [steps: unknown[], message: RegExp][] = [
    [[{ id: 'a', kind: 'imge', reference: 'x' }], /^"steps\[0\]\.kind" in build\.json "imge" is not known\. Did you mean image\?$/],
    [[{ ...image, referenc: 'y' }], /"steps\[0\]\.referenc" in build\.json is not known\. Did you mean reference\?/],
    [[image, image], /"steps\[1\]\.id" in build\.json "a" is the id of an earlier step/],
    [[{ ...image, id: 'a b' }], /may have letters/],
    [[{ id: 'a', kind: 'run', base: 'b', args: [] }], /"steps\[0\]\.args" in build\.json is empty/],
    [[{ id: 'a', kind: 'mkdir', base: 'b', path: 'x' }], /"x" is not an absolute path/],
    [[{ id: 'a', kind: 'mkdir', base: 'b', path: '/x/../y' }], /has "\.\."/],
    [[{ id: 'a', kind: 'mkdir', base: 'b', path: '/x', mode: 8 ** 5 }], /is 32768, expected 0 to 4095/],
    [[{ id: 'a', kind: 'run', base: 'b', args: ['x'], network: 'bridge' }], /is "bridge", expected default, none, host/],
    [[{ id: 'a', kind: 'run', base: 'b', args: ['x'], env: { 'A=': '' } }], /has a name that cannot be: "A="/],
    [
      [{ id: 'a', kind: 'run', base: 'b', args: ['x'], mounts: [{ kind: 'bind', target: '/x' }] }],
      /"steps\[0\]\.mounts\[0\]\.from" in build\.json must be a string, is missing/,
    ],
    [[{ id: 'a', kind: 'merge', trees: [] }], /"steps\[0\]\.trees" in build\.json is empty/],
  ];
  for (const [steps, message] of wrong) assert.throws(() => parse(steps), { code: 'DOCUMENT_INVALID', message }, JSON.stringify(steps));
  assert.throws(() => parse([], 'a', { slipwayBuild: 2 }), { message: /"slipwayBuild" in build\.json is 2; this engine reads 1/ });
  assert.throws(() => parse([image], 'a', { imgae: {} }), { message: /"imgae" in build\.json is not known\. Did you mean image\?/ });
  assert.throws(() => parseBuildDefinition('{', 'build.json'), { message: /^build\.json is not JSON/ });
});

test('steps come after what they need, and what nobody needs is left out', () => {
  const mkdir = (id: string, base: string) => ({ id, kind: 'mkdir', base, path: '/x' });
  const scratch = { id: 'z', kind: 'scratch' };
  assert.deepEqual(order([mkdir('a', 'b'), mkdir('unused', 'z'), mkdir('b', 'z'), scratch]), ['z', 'b', 'a']);
  assert.throws(() => order([mkdir('a', 'bb'), mkdir('bbb', 'a')]), {
    code: 'STEP_NOT_FOUND',
    message: 'build.json: the step "a" names the step "bb", which is not there',
    hint: 'Did you mean bbb?',
  });
  assert.throws(() => order([scratch], 'nothing'), { message: /"target" names the step "nothing"/ });
  assert.throws(() => order([mkdir('a', 'b'), mkdir('b', 'c'), mkdir('c', 'b')]), {
    code: 'STEP_CYCLE',
    message: 'build.json: steps need each other in a circle: b -> c -> b',
  });
  const chain = Array.from({ length: 50_000 }, (_, at) => (at === 0 ? scratch : mkdir(`s${at}`, at === 1 ? 'z' : `s${at - 1}`)));
  assert.equal(order(chain.toReversed(), 's49999').length, 50_000);
});
