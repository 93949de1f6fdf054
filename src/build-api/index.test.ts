import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  bind,
  cache,
  context,
  difference,
  files,
  git,
  http,
  image,
  matrix,
  merge,
  scratch,
  secret,
  ssh,
  type Tree,
  tmpfs,
} from './index.ts';

test('what is described twice the same is one step, whatever way it was come to', () => {
  const one = image('debian:12').mkdir('/app').run('make');
  const two = image('debian:12').mkdir('/app').run('make');
  const { steps, target } = merge(one, two).definition();
  assert.deepEqual(
    steps.map(({ kind }) => kind),
    ['image', 'mkdir', 'run', 'merge'],
  );
  assert.deepEqual([steps[3]?.kind === 'merge' && steps[3].trees, target], [['s3', 's3'], 's4']);
});

test('trees are values: what is done to one leaves the other as it was', () => {
  const base = image('debian:12').env('A', '1');
  const with_ = base.env('B', '2').with({ Cmd: ['x'], Labels: { l: '1' }, WorkingDir: '/w', User: 'app' });
  assert.deepEqual(base.definition().image, { Env: { A: '1' } });
  assert.deepEqual(with_.with({ Labels: { m: '2' } }).definition().image, {
    Env: { A: '1', B: '2' },
    Cmd: ['x'],
    Labels: { l: '1', m: '2' },
    WorkingDir: '/w',
    User: 'app',
  });
  const [, run] = with_.run('env', { env: { A: '3' } }).definition().steps;
  assert.deepEqual(run, {
    id: 's2',
    kind: 'run',
    name: 'RUN env',
    base: 's1',
    args: ['/bin/sh', '-c', 'env'],
    env: { A: '3', B: '2' },
    user: 'app',
    workingDir: '/w',
    mounts: [],
  });
});

test('mounts, copies and written files name the steps that they need', () => {
  const sources = context();
  const tool = scratch().copy(sources, '/', { paths: ['tool/*', '/lib'], owner: '1:1', mode: 0o755, exclude: ['*.md'] });
  const built = image('a').run(['build', '-x'], {
    mounts: [
      bind(tool, '/tool', { path: '/bin' }),
      cache('/c', { id: 'k', sharing: 'locked' }),
      tmpfs('/t'),
      bind(sources, '/src', { writable: true }),
    ],
    network: 'none',
    retries: 1,
    timeoutMs: 5,
  });
  const { steps } = difference(image('a'), built.write({ '/etc/x': 'y', '/bin/z': { text: '#!', mode: 0o755 } })).definition();
  const byKind = (kind: string) => steps.find((step) => step.kind === kind);
  const idOf = (kind: string) => byKind(kind)?.id;
  const run = byKind('run');
  assert.ok(run?.kind === 'run');
  const copy = steps.find((step) => step.kind === 'copy' && step.to === '/' && step.paths[0] === '/tool/*');
  assert.ok(copy?.kind === 'copy');
  assert.deepEqual([copy.paths, copy.owner, copy.mode, copy.exclude], [['/tool/*', '/lib'], '1:1', 0o755, ['*.md']]);
  assert.deepEqual(
    run.mounts?.map((mount) => (mount.kind === 'bind' ? mount.from : mount.kind)),
    [copy.id, 'cache', 'tmpfs', idOf('context')],
  );
  assert.deepEqual([run.args, run.network, run.retries, run.timeoutMs], [['build', '-x'], 'none', 1, 5]);
  const written = byKind('files');
  assert.deepEqual(written?.kind === 'files' && written.files, [
    { path: '/etc/x', text: 'y' },
    { path: '/bin/z', text: '#!', mode: 0o755 },
  ]);
  const [last] = steps.slice(-1);
  assert.equal(last?.kind === 'difference' && last.lower, idOf('image'));
});

test('a matrix makes one of each combination, and equal steps of them are one', () => {
  const tested = (node: string, os: string): Tree => image(`node:${node}-${os}`).copy(context(), '/app').run('npm test');
  const [first, ...others] = matrix({ node: ['22', '24'], os: ['bookworm', 'trixie'] }, ({ node, os }) => tested(node, os));
  assert.ok(first !== undefined);
  const { steps } = merge(first, ...others).definition();
  const images = steps.flatMap((step) => (step.kind === 'image' ? [step.reference] : []));
  assert.deepEqual(images.toSorted(), ['node:22-bookworm', 'node:22-trixie', 'node:24-bookworm', 'node:24-trixie']);
  assert.equal(steps.filter(({ kind }) => kind === 'context').length, 1);
  assert.deepEqual(
    matrix({ a: [1, 2], b: [true], c: ['x', 'y'] }, ({ a, b, c }) => `${a}${b}${c}`),
    ['1truex', '1truey', '2truex', '2truey'],
  );
  assert.deepEqual(
    matrix({ a: [], b: ['x'] }, () => 1),
    [],
  );
});

test('steps are in the group in which their tree was', () => {
  const tree = image('a').layer('deps').run('one').mkdir('/d').run('own', { group: 'other' }).layer().run('two').layer('app').env('A', '1');
  assert.deepEqual(
    tree
      .run('three')
      .definition()
      .steps.map(({ group }) => group),
    [undefined, 'deps', 'deps', 'other', undefined, 'app'],
  );
});

test('a chain of three thousand steps is described', () => {
  let tree = files({ '/a': '' });
  for (let count = 0; count < 3_000; count++) tree = tree.mkdir(`/d${count}`);
  assert.equal(tree.definition().steps.length, 3_001);
});

test('services name the steps of their trees, behind what is bound', () => {
  const database = image('database').run('initdb');
  const ready = { args: ['pg_isready'], timeoutMs: 5_000 };
  const tested = image('app').run('make test', {
    mounts: [bind(context(), '/src'), secret('token', { env: 'TOKEN', invalidate: true }), ssh()],
    services: [{ name: 'db', from: database, args: ['postgres'], ready }],
  });
  const { steps, target } = tested.definition();
  const run = steps.find(({ id }) => id === target);
  assert.ok(run?.kind === 'run');
  const idOf = (kind: string, name?: string) => steps.find((step) => step.kind === kind && (name === undefined || step.name === name))?.id;
  assert.deepEqual(run.services, [{ name: 'db', from: idOf('run', 'RUN initdb'), args: ['postgres'], ready }]);
  assert.deepEqual(run.mounts, [
    { kind: 'bind', target: '/src', from: idOf('context') },
    { kind: 'secret', id: 'token', env: 'TOKEN', invalidate: true },
    { kind: 'ssh' },
  ]);
});

test('files and commits come from the network', () => {
  const archive = http('https://example.org/a.tar.gz', { checksum: `sha256:${'0'.repeat(64)}`, unpack: true });
  const { steps } = merge(archive, git('https://example.org/a.git#v1')).definition();
  const without = steps.slice(0, 2).map(({ id: _, ...step }) => step);
  assert.deepEqual(without, [
    { kind: 'git', url: 'https://example.org/a.git#v1' },
    { kind: 'http', url: 'https://example.org/a.tar.gz', checksum: `sha256:${'0'.repeat(64)}`, unpack: true },
  ]);
});
