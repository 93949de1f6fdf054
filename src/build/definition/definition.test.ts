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
          { kind: 'secret', id: 's', target: '/s', required: true, mode: 0o440, uid: 1, gid: 2, invalidate: true },
          { kind: 'secret', id: 's', env: 'S' },
          { kind: 'ssh', id: 'work', required: true },
        ],
        timeoutMs: 1000,
        retries: 3,
        cacheTtlMs: 0,
        limits: { memoryBytes: 2 ** 30, cpus: 0.5, pids: 10 },
        allowedHosts: ['a.example', '*.b.example'],
        hosts: { db: '::1' },
        services: [
          {
            name: 'db',
            from: 'a',
            args: ['x'],
            env: { A: 'b' },
            user: 'u',
            workingDir: '/',
            ready: { args: ['y'], timeoutMs: 1 },
            limits: { pids: 5 },
          },
        ],
        group: 'layer',
      },
      { id: 'h', kind: 'http', url: 'https://a.example/f', checksum: `sha256:${'a'.repeat(64)}`, filename: 'g', unpack: true },
      { id: 'v', kind: 'git', url: 'https://a.example/r.git#main', keepGitDirectory: true, checksum: 'abcdef0' },
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
  const run = (more: object) => ({ id: 'a', kind: 'run', base: 'b', args: ['x'], ...more });
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
    [[run({ services: [{ name: 'd b', from: 'x' }] })], /"steps\[0\]\.services\[0\]\.name" in build\.json "d b" is not the name of a host/],
    [
      [
        run({
          services: [
            { name: 'db', from: 'x' },
            { name: 'db', from: 'y' },
          ],
        }),
      ],
      /"steps\[0\]\.services\[1\]\.name" in build\.json "db" is the name of an earlier/,
    ],
    [
      [run({ services: [{ name: 'db', from: 'x', redy: {} }] })],
      /"steps\[0\]\.services\[0\]\.redy" in build\.json is not known\. Did you mean ready\?/,
    ],
    [[run({ limits: { memoryBytes: 1 } })], /"steps\[0\]\.limits\.memoryBytes" in build\.json is 1, expected 6291456/],
    [[run({ limits: { cpus: 0 } })], /"steps\[0\]\.limits\.cpus" in build\.json is 0/],
    [[run({ limits: { cpu: 1 } })], /limits\.cpu" in build\.json is not known\. Did you mean cpus\?/],
    [
      [run({ allowedHosts: ['https://x'] })],
      /"steps\[0\]\.allowedHosts\[0\]" in build\.json "https:\/\/x" is not the name of a host, nor \*\.DOMAIN/,
    ],
    [[run({ hosts: { db: 'here' } })], /"steps\[0\]\.hosts\.db" in build\.json "here" is not an address/],
    [[run({ cacheTtlMs: -1 })], /"steps\[0\]\.cacheTtlMs" in build\.json is -1/],
    [[run({ mounts: [{ kind: 'secret', target: '/x' }] })], /"steps\[0\]\.mounts\[0\]\.id" in build\.json must be a string/],
    [[run({ mounts: [{ kind: 'secret', id: 'x', invalidate: 'yes' }] })], /mounts\[0\]\.invalidate" in build\.json must be true or false/],
    [
      [{ id: 'a', kind: 'http', url: 'file:///etc/passwd' }],
      /"steps\[0\]\.url" in build\.json "file:\/\/\/etc\/passwd" is not an http or https URL/,
    ],
    [[{ id: 'a', kind: 'http', url: 'http://x/', checksum: 'sha256:1' }], /checksum" in build\.json "sha256:1" is not a digest/],
    [[{ id: 'a', kind: 'http', url: 'http://x/', filename: '../x' }], /filename" in build\.json "\.\.\/x" is not the name of a file/],
    [[{ id: 'a', kind: 'git', url: 'ext::sh -c evil' }], /"steps\[0\]\.url" in build\.json "ext::sh -c evil" names no git repository/],
    [[{ id: 'a', kind: 'git', url: '--upload-pack=evil' }], /names no git repository/],
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
