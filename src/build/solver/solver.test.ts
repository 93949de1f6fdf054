import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock, test } from 'node:test';
import fc from 'fast-check';
import { EngineError } from '../../base/errors.ts';
import { type Hex, sha256 } from '../../oci/digest.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { ActionOutput, Lease } from '../../store/port.ts';
import type { Graph, InlineOperation, Operation, RunOperation, Vertex } from '../graph/vertex.ts';
import type { BuildEvent } from '../port.ts';
import type { Executor, Executors, StepContext } from './executor.ts';
import { Semaphore } from './limits.ts';
import { BuildMemory } from './memory.ts';
import { type Solution, type SolveOptions, Solver } from './solver.ts';

/** A tree of the fake store: its content, and a time that tells makings of the same content apart. */
let clock = 0;
function makeTree(content: string): TreeRef {
  return { id: sha256(`${content}@${clock++}`) as TreeId, content: sha256(content) };
}

/** What a command of the fake makes of its input; commands that begin with `const` ignore it. */
type Work = (context: StepContext, args: readonly string[]) => Promise<string>;

type SolverOptions = ConstructorParameters<typeof Solver>[0];

class Bench implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'slipway-solver-'));
  readonly actions = new Map<string, ActionOutput>();
  readonly known = new Map<string, TreeRef>();
  readonly trees = new Map<string, TreeRef>();
  readonly contents = new Map<string, string>();
  readonly ran: string[] = [];
  readonly leases = new Set<string>();
  readonly context = { text: 'context-1' };
  running = 0;
  mostRunning = 0;
  readonly options: SolverOptions;
  solver: Solver;

  constructor(work: Work, limit = 8) {
    const execute = async (context: StepContext, args: readonly string[]): Promise<TreeRef> => {
      this.running++;
      this.mostRunning = Math.max(this.mostRunning, this.running);
      try {
        this.ran.push(args.join(' '));
        return this.#commit(await work(context, args));
      } finally {
        this.running--;
      }
    };
    const run: Executor<RunOperation> = {
      limit: 'process',
      volatileTimes: true,
      prepare: async (operation, context) => ({
        reads: context.inputs.map((input, index) => ({ what: context.inputNames[index] ?? '', digest: context.identity(input) })),
        execute: (running) => execute(running, operation.args),
      }),
    };
    const inline: Executor<InlineOperation> = {
      limit: 'files',
      volatileTimes: false,
      prepare: async () => ({ reads: [], execute: (running) => execute(running, ['inline']) }),
    };
    const unused = { limit: 'files', volatileTimes: false, prepare: () => Promise.reject(new Error('not in these tests')) } as const;
    const executors: Executors = { run, inline, copy: unused, mkdir: unused, clamp: unused, merge: unused, difference: unused };
    const store = {
      trees: {
        findByContent: async (content: Hex) => this.known.get(content),
        adopt: async (tree: TreeId) => this.trees.get(tree),
      },
      actions: {
        get: async (key: Hex) => this.actions.get(key),
        put: async (key: Hex, output: ActionOutput) => void (this.actions.has(key) || this.actions.set(key, output)),
      },
      uses: { touch: async () => {}, last: async () => undefined },
      leases: { acquire: async () => this.lease() },
    };
    this.options = {
      store: store as unknown as SolverOptions['store'],
      executors,
      memory: new BuildMemory(join(this.folder, 'memory.json')),
      limits: { process: new Semaphore(limit), files: new Semaphore(limit) },
    };
    this.solver = new Solver(this.options);
  }

  #commit(content: string): TreeRef {
    const tree = makeTree(content);
    this.contents.set(tree.content, content);
    this.trees.set(tree.id, tree);
    if (!this.known.has(tree.content)) this.known.set(tree.content, tree);
    return tree;
  }

  lease(): Lease {
    const id = `lease-${clock++}`;
    this.leases.add(id);
    const release = async () => void this.leases.delete(id);
    return { id, add: async () => {}, tryAdd: async () => true, release, [Symbol.asyncDispose]: release };
  }

  textOf(solution: Solution): string | undefined {
    return this.contents.get(solution.output.tree.content);
  }

  async solve(vertices: Vertex[], options: Partial<SolveOptions> & { events?: BuildEvent[] } = {}): Promise<Solution> {
    const graph: Graph = { version: 1, vertices };
    await using lease = this.lease();
    return await this.solver.solve(graph, vertices.at(-1)?.id ?? '', {
      times: 'adopted',
      given: async (vertex) => this.#commit(vertex.operation.kind === 'context' ? this.context.text : 'scratch'),
      lease,
      signal: new AbortController().signal,
      onEvent: (event) => options.events?.push(event),
      ...options,
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function vertex(id: string, operation: Operation, inputs: string[] = [], more: Partial<Vertex> = {}): Vertex {
  return { id, name: id, lineage: id, inputs, operation, ...more };
}

function run(id: string, command: string, inputs: string[], more: Partial<Vertex> = {}): Vertex {
  const operation: RunOperation = {
    kind: 'run',
    args: command.split(' '),
    env: [],
    unkeyedEnv: [],
    user: '',
    workingDir: '/',
    network: 'default',
    mounts: [],
  };
  return vertex(id, operation, inputs, more);
}

const context = vertex('context', { kind: 'context', name: 'default' });
/** The new content is the command and what it had; `const x` makes x of anything. */
const compose: Work = async (step, args) =>
  args[0] === 'const' ? args.slice(1).join(' ') : `${args.join(' ')}(${step.inputs.map((input) => input.content.slice(0, 6)).join(',')})`;

test('a second solve executes nothing, looks at one result and gives the same tree', async () => {
  using bench = new Bench(compose);
  const graph = [context, run('a', 'one', ['context']), run('b', 'two', ['a'])];
  const first = await bench.solve(graph);
  const events: BuildEvent[] = [];
  const second = await bench.solve(graph, { events });
  assert.deepEqual(bench.ran, ['one', 'two']);
  assert.equal(second.output.tree.id, first.output.tree.id);
  assert.deepEqual([second.steps, second.cachedSteps], [2, 2]);
  assert.deepEqual(
    events.map((event) => event.kind === 'vertex' && [event.vertex, event.state]),
    [
      ['b', 'cached'],
      ['a', 'cached'],
    ],
  );
});

test('early cutoff: equal output of another input stops the rebuild', async () => {
  using bench = new Bench(compose);
  const graph = [context, run('a', 'const same', ['context']), run('b', 'two', ['a']), run('c', 'three', ['b'])];
  const first = await bench.solve(graph);
  bench.context.text = 'context-2';
  const second = await bench.solve(graph);
  assert.deepEqual(bench.ran, ['const same', 'two', 'three', 'const same']);
  assert.equal(second.output.tree.id, first.output.tree.id);
  assert.equal(second.output.createdAtMs, first.output.createdAtMs);
});

test('where times count, equal content of another time is another input', async () => {
  using bench = new Bench(compose);
  const graph = [context, run('a', 'const same', ['context']), run('b', 'two', ['a'])];
  await bench.solve(graph, { times: 'kept' });
  await bench.solve(graph, { times: 'kept' });
  assert.equal(bench.ran.length, 4);
});

test('vertices that do not need each other run at once, up to the limit', async () => {
  const wait: Work = async (step, args) => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return compose(step, args);
  };
  for (const limit of [1, 3]) {
    using bench = new Bench(wait, limit);
    const leaves = ['a', 'b', 'c', 'd'].map((id) => run(id, id, []));
    await bench.solve([...leaves, run('all', 'all', ['a', 'b', 'c', 'd'])]);
    assert.equal(bench.mostRunning, limit);
  }
});

test("a step's time is its own, not that of the line it stood in or of the steps before it", async () => {
  const wait: Work = async (step, args) => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return compose(step, args);
  };
  using bench = new Bench(wait, 1);
  const events: BuildEvent[] = [];
  const startedAt = performance.now();
  await bench.solve([run('a', 'a', []), run('b', 'b', []), run('c', 'c', ['a', 'b'])], { events });
  const elapsedMs = performance.now() - startedAt;
  const times = events.flatMap((event) => (event.kind === 'vertex' && event.state === 'done' ? [event.durationMs ?? 0] : []));
  assert.equal(times.length, 3);
  // One ran after the other, so together they took no longer than the whole.
  assert.ok(times.reduce((sum, time) => sum + time) <= elapsedMs, `${times} in ${elapsedMs} ms`);
});

test('vertices that the target does not need are left alone', async () => {
  using bench = new Bench(compose);
  await bench.solve([context, run('unused', 'unused', ['context']), run('a', 'one', [])]);
  assert.deepEqual(bench.ran, ['one']);
});

test('concurrent solves share a step; the cancelled one does not stop it for the other', async () => {
  const started = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<void>();
  using bench = new Bench(async (step, args) => {
    step.onOutput('stdout', Buffer.from('hello'));
    started.resolve();
    await finish.promise;
    assert.equal(step.signal.aborted, false);
    return compose(step, args);
  });
  const graph = [run('a', 'slow', [])];
  const controller = new AbortController();
  const first = bench.solve(graph, { signal: controller.signal });
  await started.promise;
  const events: BuildEvent[] = [];
  const second = bench.solve(graph, { events });
  await new Promise((resolve) => setTimeout(resolve, 20));
  controller.abort();
  await assert.rejects(first, (error: unknown) => error instanceof EngineError && error.kind === 'Cancelled');
  finish.resolve();
  await second;
  assert.deepEqual(bench.ran, ['slow']);
  assert.ok(events.some((event) => event.kind === 'output' && event.data.toString() === 'hello'));
  assert.equal(bench.leases.size, 0);
});

test('when nobody waits any more the step is aborted, awaited and not cached', async () => {
  let ended = false;
  using bench = new Bench(async (step) => {
    await new Promise((resolve) => step.signal.addEventListener('abort', resolve));
    await new Promise((resolve) => setTimeout(resolve, 20));
    ended = true;
    return 'half';
  });
  const controller = new AbortController();
  const solving = bench.solve([run('a', 'slow', [])], { signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await assert.rejects(solving, (error: unknown) => error instanceof EngineError && error.kind === 'Cancelled');
  assert.equal(ended, true);
  assert.equal(bench.actions.size, 0);
  assert.equal(bench.leases.size, 0);
});

test('a failure is told once with its place, stops the others and is not cached', async () => {
  let aborted = false;
  using bench = new Bench(async (step, args) => {
    if (args[0] === 'bad') throw new EngineError('InvalidArgument', 'BUILD_STEP_FAILED', 'it broke');
    await new Promise((resolve) => step.signal.addEventListener('abort', resolve));
    aborted = true;
    return 'never';
  });
  const place = { file: 'Dockerfile', line: 3, column: 1, length: 3, text: 'RUN bad' };
  const graph = [run('slow', 'slow', []), run('bad', 'bad', [], { place }), run('all', 'all', ['slow', 'bad'])];
  for (let attempt = 0; attempt < 2; attempt++) {
    const events: BuildEvent[] = [];
    await assert.rejects(bench.solve(graph, { events }), (error: unknown) => {
      assert.ok(error instanceof EngineError);
      assert.match(error.message, /^Dockerfile:3:1: it broke\n {2}3 \| RUN bad/);
      return true;
    });
    const failures = events.filter((event) => event.kind === 'vertex' && event.state === 'error');
    assert.deepEqual(
      failures.map((event) => event.kind === 'vertex' && event.vertex),
      ['bad'],
    );
  }
  assert.equal(aborted, true);
  assert.equal(bench.actions.size, 0);
  assert.equal(bench.ran.filter((command) => command === 'bad').length, 2);
});

test('a step that must run again replaces the result for later solves, though no entry ever changes', async () => {
  let count = 0;
  using bench = new Bench(async (step, args) => (args[0] === 'now' ? `now ${++count}` : compose(step, args)));
  const graph = (noCache: boolean) => [run('a', 'now', [], { noCache }), run('b', 'after', ['a'])];
  await bench.solve(graph(false));
  const entries = new Map(bench.actions);
  const fresh = await bench.solve(graph(true));
  const later = await bench.solve(graph(false));
  assert.equal(later.output.tree.id, fresh.output.tree.id);
  assert.deepEqual(bench.ran, ['now', 'after', 'now', 'after']);
  for (const [key, output] of entries) assert.equal(bench.actions.get(key), output);
});

test('what was refreshed is remembered over a restart', async () => {
  let count = 0;
  using bench = new Bench(async () => `now ${++count}`);
  await bench.solve([run('a', 'now', [])]);
  await bench.solve([run('a', 'now', [], { noCache: true })]);
  bench.solver = new Solver({ ...bench.options, memory: new BuildMemory(join(bench.folder, 'memory.json')) });
  assert.equal(bench.textOf(await bench.solve([run('a', 'now', [])])), 'now 2');
  assert.equal(count, 2);
});

test('a result that is older than its TTL counts as none, and what follows goes by what the step gives then', async () => {
  mock.timers.enable({ apis: ['Date'], now: 1_000_000 });
  try {
    let made = 'now 1';
    using bench = new Bench(async (step, args) => (args[0] === 'now' ? made : compose(step, args)));
    const reasons: (string | undefined)[] = [];
    const solve = async (cacheTtlMs?: number) => {
      const events: BuildEvent[] = [];
      const solution = await bench.solve([run('a', 'now', [], { cacheTtlMs }), run('b', 'after', ['a'])], { events });
      for (const event of events) if (event.kind === 'vertex' && event.state === 'running') reasons.push(event.reason);
      return bench.textOf(solution);
    };
    const first = await solve(1000);
    mock.timers.tick(1000);
    assert.equal(await solve(1000), first, 'not yet older');
    assert.deepEqual(bench.ran, ['now', 'after']);
    mock.timers.tick(1);
    await solve(1000);
    assert.deepEqual(bench.ran, ['now', 'after', 'now'], 'the same result: what follows is known');
    mock.timers.tick(900);
    await solve(1000);
    assert.equal(bench.ran.length, 3, 'young again since it ran');
    mock.timers.tick(101);
    made = 'now 2';
    const second = await solve(1000);
    assert.notEqual(second, first);
    assert.deepEqual(bench.ran.slice(3), ['now', 'after']);
    mock.timers.tick(10_000);
    assert.equal(await solve(), second, 'without a TTL no result is too old, and the latest one is in force');
    assert.equal(bench.ran.length, 5);
    assert.equal(reasons[2], 'its result is older than its cache TTL');
    bench.solver = new Solver({ ...bench.options, memory: new BuildMemory(join(bench.folder, 'memory.json')) });
    mock.timers.tick(1);
    made = 'now 3';
    assert.notEqual(await solve(1000), second, 'after a restart, too');
  } finally {
    mock.timers.reset();
  }
});

test('what a step reads beside its inputs is part of its recipe and of those after it', async () => {
  let secret = 'one';
  using bench = new Bench(compose);
  const executors = { ...bench.options.executors };
  const readsOutside = async ({ args }: RunOperation) => (args[0] === 'a' ? [{ what: 'the secret', digest: secret }] : []);
  Object.assign(executors, { run: { ...executors.run, readsOutside } });
  bench.solver = new Solver({ ...bench.options, executors });
  const events: BuildEvent[] = [];
  const solve = () => bench.solve([run('a', 'a', []), run('b', 'b', ['a'])], { events });
  await solve();
  await solve();
  assert.deepEqual(bench.ran, ['a', 'b']);
  secret = 'two';
  await solve();
  assert.deepEqual(bench.ran, ['a', 'b', 'a'], 'it came out the same, so what follows is known');
  const reasons = events.flatMap((event) => (event.kind === 'vertex' && event.state === 'running' ? [event.reason] : []));
  assert.equal(reasons[2], 'the secret changed');
  secret = 'one';
  await solve();
  assert.equal(bench.ran.length, 3, 'the earlier value has its earlier result');
});

test('why a step ran: what changed is named', async () => {
  using bench = new Bench(compose);
  const reasonOf = async (command: string) => {
    const events: BuildEvent[] = [];
    await bench.solve([context, run('a', command, ['context'])], { events });
    return events.flatMap((event) =>
      event.kind === 'vertex' && event.state === 'running' && event.vertex === 'a' ? [event.reason] : [],
    )[0];
  };
  assert.equal(await reasonOf('one'), 'it has not run before');
  assert.equal(await reasonOf('two'), 'the instruction or its variables changed');
  bench.context.text = 'context-2';
  assert.equal(await reasonOf('two'), 'context changed');
});

test('a graph that is not sound is refused', async () => {
  using bench = new Bench(compose);
  await assert.rejects(bench.solve([run('a', 'x', ['b']), run('b', 'y', ['a'])]), /does not stand before it/);
  await assert.rejects(bench.solve([run('a', 'x', []), run('a', 'y', [])]), /two vertices/);
});

test('whatever the graph: solving again executes nothing; a changed leaf executes only what depends on it', async () => {
  const shapes = fc.array(fc.array(fc.nat(), { maxLength: 3 }), { minLength: 2, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(shapes, fc.nat(), async (shape, pick) => {
      using bench = new Bench(compose);
      const inputsOf = (index: number) =>
        [...new Set((shape[index] ?? []).map((input) => (index === 0 ? -1 : input % index)))].filter((input) => input >= 0);
      const changed = pick % shape.length;
      const build = (mark: string) => [
        ...shape.map((_, index) =>
          run(
            `v${index}`,
            index === changed ? `c${index}${mark}` : `c${index}`,
            inputsOf(index).map((input) => `v${input}`),
          ),
        ),
        run(
          'target',
          'target',
          shape.map((_, index) => `v${index}`),
        ),
      ];
      const first = await bench.solve(build(''));
      const executed = bench.ran.length;
      assert.equal(executed, shape.length + 1);
      const again = await bench.solve(build(''));
      assert.equal(bench.ran.length, executed);
      assert.equal(again.output.tree.id, first.output.tree.id);
      await bench.solve(build('!'));
      const affected = new Set([changed]);
      for (let index = changed + 1; index < shape.length; index++)
        if (inputsOf(index).some((input) => affected.has(input))) affected.add(index);
      assert.equal(bench.ran.length - executed, affected.size + 1);
      assert.equal(bench.leases.size, 0);
    }),
    { numRuns: 60 },
  );
});
