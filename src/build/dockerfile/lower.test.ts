import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../../base/errors.ts';
import { sha256 } from '../../oci/digest.ts';
import type { TreeId } from '../../store/model.ts';
import type { ImageRecord } from '../../store/port.ts';
import type { RunOperation } from '../graph/vertex.ts';
import { canonical } from '../solver/keys.ts';
import { type LowerOptions, lowerDockerfile } from './lower.ts';
import { parseDockerfile } from './parser.ts';

const resolved: string[] = [];
const image = (name: string): ImageRecord => ({
  id: `sha256:${sha256(name)}` as ImageRecord['id'],
  config: {
    architecture: 'amd64',
    os: 'linux',
    created: '2020-01-01T00:00:00Z',
    config: { Env: ['PATH=/bin', 'FROM_IMAGE=1'], WorkingDir: 'work' },
  },
  tree: sha256(`tree ${name}`) as TreeId,
  treeContent: sha256(`content ${name}`),
  history: [{ created: '2020-01-01T00:00:00Z', created_by: 'made' }],
  sizeBytes: 1,
  createdAtMs: 0,
});

async function lower(text: string, options: Partial<LowerOptions> = {}) {
  resolved.length = 0;
  return lowerDockerfile(parseDockerfile(text), {
    buildArgs: {},
    labels: {},
    noCache: false,
    networkMode: 'default',
    resolveImage: async (name) => {
      resolved.push(name);
      if (name.startsWith('missing'))
        throw new EngineError('NotFound', 'IMAGE_NOT_FOUND', `there is no image ${name}`, { hint: 'Load it.' });
      return image(name);
    },
    ...options,
  });
}

test('a graph is plain data in order, with each input before its users', async () => {
  const { graph, target } = await lower('FROM a AS x\nRUN one\nFROM b\nCOPY --from=x /f /g\nCOPY . .\n');
  assert.equal(canonical(JSON.parse(JSON.stringify(graph))), canonical(graph));
  const seen = new Set<string>();
  for (const vertex of graph.vertices) {
    for (const input of vertex.inputs) assert.ok(seen.has(input));
    seen.add(vertex.id);
  }
  assert.deepEqual(
    graph.vertices.map((vertex) => vertex.operation.kind),
    ['image', 'image', 'run', 'copy', 'context', 'copy'],
  );
  assert.equal(graph.vertices.at(-1)?.id, target);
});

test('only what the target needs is resolved and made', async () => {
  const text = 'FROM missing AS unused\nRUN x\nFROM a AS used\nRUN y\nFROM scratch\nCOPY --from=used / /\n';
  const { graph } = await lower(text);
  assert.deepEqual(resolved, ['a']);
  assert.ok(!graph.vertices.some((vertex) => vertex.name.includes('RUN x')));
});

test('an image is asked for once, however many stages stand on it', async () => {
  const { graph } = await lower('FROM a AS x\nRUN one\nFROM a AS y\nRUN two\nFROM a\nCOPY --from=x / /x\nCOPY --from=y / /y\n');
  assert.deepEqual(resolved, ['a']);
  assert.equal(graph.vertices.filter((vertex) => vertex.operation.kind === 'image').length, 1);
});

test('the context is named only when a step reads it, with the paths that it reads', async () => {
  assert.deepEqual((await lower('FROM a\nENV x=y\n')).contextPaths, []);
  const { contextPaths } = await lower('FROM a AS x\nCOPY src/*.c ./inc /\nRUN --mount=source=tools,target=/t make\n');
  assert.deepEqual(contextPaths, [
    { path: '/src/*.c', wildcard: true },
    { path: '/inc', wildcard: false },
    { path: '/tools', wildcard: false },
  ]);
});

test('a RUN gets variables, user, directory, shell, network and proxies', async () => {
  const { graph } = await lower('FROM a\nARG v=2\nUSER me:us\nWORKDIR sub\nSHELL ["/bin/bash", "-c"]\nRUN --network=none make $v\n', {
    buildArgs: { https_proxy: 'http://p' },
  });
  const run = graph.vertices.at(-1)?.operation as RunOperation;
  assert.deepEqual(run, {
    kind: 'run',
    args: ['/bin/bash', '-c', 'make $v'],
    env: [
      ['FROM_IMAGE', '1'],
      ['PATH', '/bin'],
      ['v', '2'],
    ],
    unkeyedEnv: [
      ['HTTPS_PROXY', 'http://p'],
      ['https_proxy', 'http://p'],
    ],
    user: 'me:us',
    workingDir: '/work/sub',
    network: 'none',
    mounts: [],
  });
});

test('a proxy that an ARG declares is an ordinary variable', async () => {
  const { graph } = await lower('FROM a\nARG HTTP_PROXY\nRUN x\n', { buildArgs: { HTTP_PROXY: 'http://p' } });
  const run = graph.vertices.at(-1)?.operation as RunOperation;
  assert.ok(run.env.some(([name]) => name === 'HTTP_PROXY'));
  assert.ok(!run.unkeyedEnv.some(([name]) => name === 'HTTP_PROXY'));
});

test('lineages tell equal steps apart and do not depend on arguments', async () => {
  const lineages = async (value: string) =>
    (await lower('FROM a\nARG v\nRUN x $v\nRUN x $v\n', { buildArgs: { v: value } })).graph.vertices.map((vertex) => vertex.lineage);
  const first = await lineages('1');
  assert.equal(new Set(first).size, first.length);
  assert.deepEqual(await lineages('2'), first);
});

test('a config keeps what the image said, its directory made absolute', async () => {
  const { config, history } = await lower('FROM a\nENV b=2\n');
  assert.deepEqual(config, {
    architecture: 'amd64',
    os: 'linux',
    config: { Env: ['PATH=/bin', 'FROM_IMAGE=1', 'b=2'], WorkingDir: '/work' },
  });
  assert.deepEqual(
    history.map((item) => item.entry.created_by),
    ['made', 'ENV b=2'],
  );
});

test('a missing image shows the FROM and keeps the hint', async () => {
  await assert.rejects(lower('FROM a AS missin\nFROM missing\n'), (error: unknown) => {
    assert.ok(error instanceof EngineError);
    assert.equal(error.kind, 'NotFound');
    assert.match(error.message, /^Dockerfile:2:1: there is no image missing\n/);
    assert.match(error.hint ?? '', /the stage missin\? Load it\./);
    return true;
  });
});

test('steps are numbered within their stage', async () => {
  const { graph } = await lower('FROM a AS x\nRUN one\nRUN two\nFROM x\nWORKDIR /\nCOPY f /\n');
  assert.deepEqual(
    graph.vertices.map((vertex) => vertex.name).filter((name) => name.startsWith('[')),
    ['[x 1/2] RUN one', '[x 2/2] RUN two', '[stage-1 2/2] COPY f /'],
  );
});

test('SOURCE_DATE_EPOCH is a build argument, or else a global ARG', async () => {
  const epoch = async (text: string, buildArgs: Record<string, string> = {}) => (await lower(text, { buildArgs })).sourceDateEpoch;
  assert.equal(await epoch('FROM scratch\n'), undefined);
  assert.equal(await epoch('ARG SOURCE_DATE_EPOCH=5\nFROM scratch\n'), '5');
  assert.equal(await epoch('ARG SOURCE_DATE_EPOCH=5\nFROM scratch\n', { SOURCE_DATE_EPOCH: '7' }), '7');
  assert.equal(await epoch('FROM scratch\nARG SOURCE_DATE_EPOCH=5\n'), undefined);
});

test('an image for another machine is worth a warning', async () => {
  const other = { ...image('other'), config: { architecture: 'sparc64', os: 'linux' } };
  const { warnings } = await lower('FROM other\n', { resolveImage: async () => other });
  assert.match(
    warnings.map(({ message }) => message).join(),
    /^InvalidBaseImagePlatform: Base image other was pulled with platform "linux\/sparc64", expected "linux\//,
  );
});

test('a secret mount says what and how, never a value', async () => {
  const { graph } = await lower('FROM a\nRUN --mount=type=secret,id=x,mode=0440,uid=3 --mount=type=ssh,id=y,required true\n');
  const run = graph.vertices.at(-1)?.operation as RunOperation;
  assert.deepEqual(
    run.mounts.map((mount) => ('place' in mount ? { ...mount, place: undefined } : mount)),
    [
      { kind: 'secret', id: 'x', target: '/run/secrets/x', env: undefined, required: false, mode: 0o440, uid: 3, gid: 0, place: undefined },
      { kind: 'ssh', id: 'y', target: '/run/buildkit/ssh_agent.0', required: true, mode: 0o600, uid: 0, gid: 0, place: undefined },
    ],
  );
});

test('a URL and a repository are vertices without inputs, one for each source', async () => {
  const { graph } = await lower(
    'FROM scratch\nADD https://user:pw@h/x /a\nADD https://user:pw@h/x /b\nADD --keep-git-dir https://h/r.git#v1:sub /c\n',
  );
  const fetched = graph.vertices.filter((vertex) => vertex.operation.kind === 'http' || vertex.operation.kind === 'git');
  assert.deepEqual(
    fetched.map(({ name, operation, inputs }) => ({ name, operation, inputs })),
    [
      {
        name: 'fetch https://h/x',
        inputs: [],
        operation: { kind: 'http', url: 'https://user:pw@h/x', filename: 'x', checksum: undefined },
      },
      {
        name: 'clone https://h/r.git#v1',
        inputs: [],
        operation: {
          kind: 'git',
          remote: 'https://h/r.git',
          ref: 'v1',
          subdirectory: 'sub',
          keepGitDirectory: true,
          submodules: true,
          checksum: undefined,
        },
      },
    ],
  );
});
