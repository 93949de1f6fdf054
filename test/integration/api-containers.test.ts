import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { EventBus } from '../../src/api/event-bus.ts';
import type { UpdateRequest } from '../../src/api-types/container.ts';
import { EngineError } from '../../src/base/errors.ts';
import type { LogReader } from '../../src/logging/port.ts';
import type { ContainerRecord, Containers, StatsSample } from '../../src/runtime/port.ts';
import type { Images, Trees } from '../../src/store/port.ts';
import { client, filtersOf } from './api-client.ts';
import { containerRecord, FakeContainers, fakeServices, partial } from './api-fakes.ts';
import { Client, serve } from './api-serve.ts';

const running = containerRecord({ state: { status: 'running', pid: 7, startedAtMs: Date.now(), paused: false } });

/** Containers of which one method is looked at; the rest are those of `running`. */
function looking(methods: Partial<Containers>): Containers {
  return partial<Containers>('containers', { get: async () => running, list: async () => [running], ...methods });
}

test('update passes on what the version knows, and answers its warnings', async (t) => {
  const asked: UpdateRequest[] = [];
  const containers = looking({
    update: async (_name, request) => {
      asked.push(request);
      return asked.length === 1 ? ['a warning'] : [];
    },
  });
  const call = client(t, { containers });
  const body = { Memory: 5, PidsLimit: 0, KernelMemory: 7, RestartPolicy: { Name: 'always' }, Turbo: 1 };
  const answer = await call('POST', '/v1.43/containers/web/update', body);
  assert.deepEqual(answer.json(), { Warnings: ['a warning', 'Turbo is not a known field and has no effect'] });
  // 0 lifts the limit, whereas to the engine it means nothing.
  assert.deepEqual(asked[0], { Memory: 5, RestartPolicy: { Name: 'always' }, PidsLimit: -1 });
  assert.deepEqual((await call('POST', '/v1.39/containers/web/update', { PidsLimit: 5, KernelMemory: 7 })).json(), { Warnings: null });
  assert.deepEqual(asked[1], { KernelMemory: 7 });
  assert.equal((await call('POST', '/containers/web/update', { RestartPolicy: { Name: 'sometimes' } })).status, 400);
  assert.equal((await call('POST', '/containers/web/update')).status, 400);
});

test('stop and restart know a signal since 1.42', async (t) => {
  const asked: unknown[] = [];
  const take = async (_name: string, options?: unknown) => void asked.push(options);
  const call = client(t, { containers: looking({ stop: take, restart: take }) });
  await call('POST', '/v1.41/containers/web/stop?t=3&signal=SIGINT');
  await call('POST', '/v1.42/containers/web/stop?t=-1&signal=SIGINT');
  await call('POST', '/v1.42/containers/web/restart');
  assert.deepEqual(asked, [{ timeoutSeconds: 3 }, { timeoutSeconds: -1, signal: 'SIGINT' }, {}]);
  assert.match((await call('POST', '/containers/web/stop?t=soon')).json().message, /"t" is not a whole number/);
});

test('a start has no body and no checkpoint', async (t) => {
  const call = client(t, { containers: looking({ start: async () => {} }) });
  assert.equal((await call('POST', '/containers/web/start', '{}')).status, 204);
  assert.match(
    (await call('POST', '/containers/web/start', { Binds: [] })).json().message,
    /^starting container with non-empty request body/,
  );
  assert.match((await call('POST', '/containers/web/start?checkpoint=a')).json().message, /"checkpoint" is not supported/);
});

test('kill names the container, rename needs a name, resize needs a size', async (t) => {
  const containers = looking({
    kill: async (name) => {
      throw new EngineError('Conflict', 'CONTAINER_NOT_RUNNING', `container ${name} is not running`);
    },
    rename: async () => {},
    resize: async () => {},
  });
  const call = client(t, { containers });
  const killed = await call('POST', '/containers/web/kill?signal=HUP');
  assert.deepEqual([killed.status, killed.json().message], [409, 'cannot kill container: web: container web is not running']);
  assert.equal((await call('POST', '/containers/web/rename?name=/b')).status, 204);
  assert.equal((await call('POST', '/containers/web/rename?name=/')).json().message, 'Neither old nor new names may be empty');
  assert.equal((await call('POST', '/containers/web/resize?h=1&w=2')).status, 200);
  assert.equal((await call('POST', '/containers/web/resize?h=x&w=2')).json().message, 'invalid resize height "x": invalid syntax');
  assert.equal((await call('POST', '/containers/web/resize?h=1')).json().message, 'invalid resize width "": invalid syntax');
  assert.equal((await call('POST', '/containers/web/resize?h=-1&w=1')).json().message, 'invalid resize height "-1": value out of range');
});

test('before 1.30 wait knows no condition, and answers in one piece', async (t) => {
  const conditions: (string | undefined)[] = [];
  const containers = looking({
    wait: async (_name, condition) => {
      conditions.push(condition);
      return { exitCode: 4 };
    },
  });
  const call = client(t, { containers });
  const old = await call('POST', '/v1.29/containers/web/wait?condition=removed');
  assert.deepEqual([old.json(), old.headers['content-length']], [{ StatusCode: 4 }, '16']);
  assert.deepEqual((await call('POST', '/v1.30/containers/web/wait?condition=removed')).json(), { StatusCode: 4 });
  assert.equal((await call('POST', '/containers/web/wait?condition=asleep')).json().message, 'invalid condition: "asleep"');
  assert.deepEqual(conditions, ['not-running', 'removed']);
});

test('a listing shows sizes, the state of health, and the id of an image whose name has gone elsewhere', async (t) => {
  const unhealthy: ContainerRecord = { ...running, health: { status: 'unhealthy', failingStreak: 3, log: [] } };
  const images = partial<Images>('images', { resolve: async () => ({ id: 'sha256:other' }) as never });
  const trees = partial<Trees>('trees', { stat: async () => ({ files: 1, directories: 1, bytes: 100 }) });
  const store = { ...fakeServices().store, images, trees };
  const call = client(t, { containers: looking({ list: async () => [unhealthy] }), store, writableBytes: async () => 20 });
  const [row] = (await call('GET', `/containers/json?size=1&${filtersOf({ health: ['unhealthy'] })}`)).json();
  assert.match(row.Status, /^Up .* \(unhealthy\)$/);
  assert.deepEqual([row.SizeRw, row.SizeRootFs, row.Image, row.Command], [20, 120, running.image.id, 'cat -']);
});

test('an inspection has the shape of the version that asks', async (t) => {
  const named = { ...running, networks: [{ name: 'own', aliases: ['db'] }], config: { ...running.config, Hostname: 'host1' } };
  const call = client(t, { containers: looking({ get: async () => named, execs: async () => [] }) });
  const aliases = async (version: string) =>
    (await call('GET', `${version}/containers/web/json`)).json().NetworkSettings.Networks.own.Aliases;
  assert.deepEqual(await aliases('/v1.44'), ['db', 'cccccccccccc', 'host1']);
  assert.deepEqual(await aliases('/v1.45'), ['db']);
  const { HostConfig, Config, State } = (await call('GET', '/containers/web/json')).json();
  assert.deepEqual([HostConfig.Runtime, HostConfig.CgroupnsMode, HostConfig.ShmSize], ['runc', 'private', 67_108_864]);
  assert.deepEqual([Config.Volumes, Config.Domainname, State.Health], [null, '', undefined]);
});

test('two prunes at a time are one too many', async (t) => {
  const { promise, resolve } = Promise.withResolvers<ContainerRecord[]>();
  const events = new EventBus();
  const call = client(t, { events, containers: looking({ list: () => promise }) });
  const first = call('POST', '/containers/prune');
  const second = await call('POST', '/containers/prune');
  assert.deepEqual([second.status, second.json().message], [409, 'a prune operation is already running']);
  resolve([]);
  assert.deepEqual((await first).json(), { ContainersDeleted: null, SpaceReclaimed: 0 });
  assert.equal((await call('POST', `/containers/prune?${filtersOf({ until: ['1h'], 'label!': ['keep'] })}`)).status, 200);
  assert.equal((await call('POST', `/containers/prune?${filtersOf({ until: ['soon'] })}`)).status, 400);
});

const sample = (usageNs: number): StatsSample => ({
  readAtMs: Date.now(),
  pids: { current: 1 },
  cpu: { usageNs, userNs: 0, systemNs: 0, throttling: { periods: 0, throttledPeriods: 0, throttledNs: 0 } },
  host: { cpuNs: usageNs * 10, onlineCpus: 2 },
  memory: { usageBytes: 1, limitBytes: 2, details: {} },
  blockIo: { bytes: [], operations: [] },
  networks: {},
});

test('stats: one reading at once, one with the one before it, and nothing of what does not run', async (t) => {
  let readings = 0;
  const call = client(t, { containers: looking({ stats: async () => sample(++readings * 100) }) });
  const usage = ({ cpu_stats, precpu_stats }: Record<string, { cpu_usage: { total_usage: number } }>) => [
    cpu_stats?.cpu_usage.total_usage,
    precpu_stats?.cpu_usage.total_usage,
  ];
  assert.deepEqual(usage((await call('GET', '/containers/web/stats?stream=0&one-shot=1')).json()), [100, 0]);
  assert.deepEqual(usage((await call('GET', '/containers/web/stats?stream=false')).json()), [300, 200]);
  // Before 1.41 there was no such parameter.
  assert.deepEqual(usage((await call('GET', '/v1.40/containers/web/stats?stream=0&one-shot=1')).json()), [500, 400]);
  assert.equal((await call('GET', '/containers/web/stats?one-shot=1')).json().message, 'cannot have stream=true and one-shot=true');
  const stopped = client(t, { containers: looking({ stats: async () => undefined }) });
  const empty = (await stopped('GET', '/containers/web/stats?stream=0')).json();
  assert.deepEqual([empty.name, empty.read, empty.memory_stats], ['/web', '0001-01-01T00:00:00Z', {}]);
});

test('a stream of stats goes on until the container is removed', async (t) => {
  let asked = 0;
  const containers = looking({
    stats: async () => sample(++asked * 100),
    get: async () => {
      if (asked > 1) throw new EngineError('NotFound', 'CONTAINER_NOT_FOUND', 'No such container: web');
      return running;
    },
  });
  const { path } = await serve(t, { containers });
  const reader = new Client(path);
  reader.send(['GET /containers/web/stats HTTP/1.1', 'Host: x', 'Connection: close']);
  await reader.ended;
  const lines = reader.body.toString().match(/\{.*\}/g) ?? [];
  assert.equal(lines.length, 1);
  assert.equal(JSON.parse(lines[0] ?? '').precpu_stats.cpu_usage.total_usage, 100);
});

function logs(t: TestContext, record: ContainerRecord) {
  const reader: LogReader = {
    async *read() {
      yield { timeNs: 1_700_000_000_000_000_001n, stream: 'stdout', line: Buffer.from('hello'), partial: false };
    },
  };
  return client(t, { containers: looking({ get: async () => record }), logs: reader });
}

test('logs tell details where the log options name some, and refuse what was not kept', async (t) => {
  const tty = containerRecord({
    config: { Tty: true, Labels: { tier: 'front' } },
    hostConfig: { LogConfig: { Type: 'json-file', Config: { labels: 'tier' } } },
  });
  const call = logs(t, tty);
  assert.equal((await call('GET', '/containers/web/logs?stdout=1&details=1')).body, 'tier=front hello\n');
  assert.equal(
    (await call('GET', '/containers/web/logs?stdout=1&details=1&timestamps=1')).body,
    '2023-11-14T22:13:20.000000001Z tier=front hello\n',
  );
  const none = logs(t, containerRecord({ hostConfig: { LogConfig: { Type: 'none' } } }));
  const refused = await none('GET', '/containers/web/logs?stdout=1');
  assert.deepEqual([refused.status, refused.json().message], [501, 'configured logging driver does not support reading']);
  assert.match((await call('GET', '/containers/web/logs')).json().message, /choose at least one stream/);
});

test('the start of an exec says whether its output is framed, and how large its terminal is', async (t) => {
  const containers = new FakeContainers(running);
  const started: unknown[] = [];
  const port = containers.port();
  const watched = new Proxy(port, {
    get: (target, key) =>
      key === 'execStart'
        ? async (_id: string, options: unknown) => {
            started.push(options);
            containers.process.end();
            return containers.process;
          }
        : target[key as keyof Containers],
  });
  const { path } = await serve(t, { containers: watched });
  const start = async (version: string, made: object, given: object) => {
    const ask = new Client(path);
    const body = JSON.stringify({ Cmd: ['sh'], ...made });
    ask.send(
      [
        `POST ${version}/containers/web/exec HTTP/1.1`,
        'Host: x',
        'Content-Type: application/json',
        `Content-Length: ${body.length}`,
        'Connection: close',
      ],
      body,
    );
    await ask.ended;
    const { Id } = JSON.parse(ask.body.toString());
    const run = new Client(path);
    const text = JSON.stringify(given);
    const head = [
      `POST ${version}/exec/${Id}/start HTTP/1.1`,
      'Host: x',
      'Connection: Upgrade',
      'Upgrade: tcp',
      'Content-Type: application/json',
    ];
    run.send([...head, `Content-Length: ${text.length}`], text);
    await run.ended;
    return run.received.toString();
  };
  const multiplexed = /Content-Type: application\/vnd\.docker\.multiplexed-stream/;
  const raw = /Content-Type: application\/vnd\.docker\.raw-stream/;
  assert.match(await start('', { Tty: true, ConsoleSize: [1, 2] }, { Tty: true }), raw);
  assert.match(await start('', { Tty: true }, { Tty: false, ConsoleSize: [3, 4] }), multiplexed);
  assert.match(await start('/v1.41', { Tty: true, ConsoleSize: [1, 2] }, { ConsoleSize: [3, 4] }), raw);
  assert.deepEqual(started, [
    { detach: false, size: { rows: 1, columns: 2 } },
    { detach: false, size: { rows: 3, columns: 4 } },
    { detach: false },
  ]);
});
