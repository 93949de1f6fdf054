import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { changeOneLine, prepareApplication } from '../application.ts';
import { largeFileProject, stagesProject, stepsProjects } from '../build-projects.ts';
import { type Builder, type BuilderKind, builderKinds } from '../builders.ts';
import { smallApplication } from '../deploy-loop.ts';
import { type Measure, median } from '../measure.ts';
import { withPeakMemory } from '../peak.ts';
import { warmPageCache } from '../store.ts';
import type { BenchOptions } from '../suites.ts';

const memoryAim = 500;

/** Whole processes, from the client's start to its exit, and the most memory that the engine and its children had meanwhile. The same Dockerfiles for all. */
export async function benchBuild({ runs, docker, podman, small, say }: BenchOptions): Promise<Measure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-bench-projects-'));
  const rows = new Rows(say);
  const kinds = builderKinds({ docker: docker !== undefined, podman });
  const application = small ? smallApplication(made(join(folder, 'application'))) : prepareApplication(say);
  try {
    await benchApplication(rows, kinds, application, runs);
    await using open = new AsyncDisposableStack();
    const builders = await openAll(open, kinds);
    const stages = (turns: number) => stagesProject(join(folder, 'stages'), turns);
    // Another count is another step: nothing is cached.
    for (let index = 0; index < Math.min(runs, 3); index++)
      await rows.round('20 stages, cold', index === 0 ? builders : ours(builders), stages((small ? 1_000 : 60_000) + index), {
        count: true,
      });
    await benchSteps(rows, builders, stepsProjects(folder), runs);
    await open[Symbol.asyncDispose]();
    await benchLargeFile(rows, kinds, largeFileProject(join(folder, 'large'), small ? 8 << 20 : 4 * 2 ** 30));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return rows.measures;
}

function made(folder: string): string {
  mkdirSync(folder);
  return folder;
}

type OpenBuilder = { kind: BuilderKind; builder: Builder };

function ours(builders: readonly OpenBuilder[]): OpenBuilder[] {
  return builders.filter(({ kind }) => kind.ours);
}

async function openAll(stack: AsyncDisposableStack, kinds: readonly BuilderKind[]): Promise<OpenBuilder[]> {
  const builders: OpenBuilder[] = [];
  for (const kind of kinds) builders.push({ kind, builder: stack.use(await kind.open()) });
  return builders;
}

async function benchApplication(rows: Rows, kinds: readonly BuilderKind[], application: string, runs: number): Promise<void> {
  await using open = new AsyncDisposableStack();
  const cold = { aim: 15, count: true, before: () => warmPageCache(application) };
  const [first] = kinds;
  // Engines are cold once. Ours, whose figure is held against an aim, is so twice.
  if (first !== undefined && runs > 1) {
    await using builder = await first.open();
    await rows.round('107,000 files, cold', [{ kind: first, builder }], application, cold);
  }
  const builders = await openAll(open, kinds);
  await rows.round('107,000 files, cold', builders, application, cold);
  for (let round = -1; round < runs; round++)
    await rows.round('107,000 files, nothing changed', builders, application, { aim: 0.8, count: round >= 0 });
  for (let round = -1; round < Math.min(runs, 3); round++) {
    const options = { aim: 1, count: round >= 0, before: () => changeOneLine(application) };
    // Who takes a minute for it does so once.
    await rows.round('107,000 files, one line changed', round === 0 ? builders : ours(builders), application, options);
  }
}

async function benchSteps(
  rows: Rows,
  builders: readonly OpenBuilder[],
  projects: { many: string; one: string },
  runs: number,
): Promise<void> {
  await rows.round('100 steps, cold', builders, projects.many, { count: true });
  await rows.round('1 step, cached', builders, projects.one, { count: false });
  for (let round = -1; round < runs; round++) {
    await rows.round('1 step, cached', builders, projects.one, { count: round >= 0 });
    await rows.round('100 steps, cached', builders, projects.many, { count: round >= 0 });
  }
  for (const { kind } of builders) {
    const of = (name: string) => median(rows.values(`${name}: ${kind.name}`));
    rows.add(
      `100 steps, cached, beyond 1: ${kind.name}`,
      's',
      of('100 steps, cached') - of('1 step, cached'),
      kind.aims ? 0.15 : undefined,
    );
  }
}

/** One engine after the other, so that the disk holds the copies of one only. */
async function benchLargeFile(rows: Rows, kinds: readonly BuilderKind[], folder: string): Promise<void> {
  for (const kind of kinds) {
    await using builder = await kind.open();
    await rows.round('a file of 4 GB, cold', [{ kind, builder }], folder, { count: true, before: () => warmPageCache(folder) });
    for (let round = 0; round < 2; round++)
      await rows.round('a file of 4 GB, nothing changed', [{ kind, builder }], folder, { count: true });
  }
}

/** What was measured, a row for each thing and engine, and one for its memory. */
class Rows {
  readonly #rows = new Map<string, Measure>();
  readonly #say: (text: string) => void;

  constructor(say: (text: string) => void) {
    this.#say = say;
  }

  /** One build by each, in turn, so that what else the machine does meets all of them. `before` is not counted. */
  async round(
    name: string,
    builders: readonly OpenBuilder[],
    folder: string,
    { before, aim, count }: { before?: () => void; aim?: number; count: boolean },
  ): Promise<void> {
    for (const { kind, builder } of builders) {
      before?.();
      const start = performance.now();
      const { peakMegabytes } = await withPeakMemory(
        () => builder.processes(),
        () => builder.build(folder),
      );
      const seconds = (performance.now() - start) / 1000;
      this.#say(`${name}: ${kind.name}: ${seconds.toFixed(2)} s, ${peakMegabytes.toFixed(0)} MB${count ? '' : ' (not counted)'}`);
      if (!count) continue;
      const peer = kind.peer === undefined ? undefined : `${name}: ${kind.peer}`;
      this.add(`${name}: ${kind.name}`, 's', seconds, kind.aims ? aim : undefined, peer);
      this.add(`${name}, memory: ${kind.name}`, 'MB', peakMegabytes, kind.ours ? memoryAim : undefined);
    }
  }

  add(name: string, unit: Measure['unit'], value: number, aim?: number, peer?: string): void {
    const row = this.#rows.get(name) ?? { name, unit, values: [], aim, peer };
    row.values.push(value);
    this.#rows.set(name, row);
  }

  values(name: string): number[] {
    return this.#rows.get(name)?.values ?? [];
  }

  /** Times, then memory. */
  get measures(): Measure[] {
    const all = [...this.#rows.values()];
    return [...all.filter(({ unit }) => unit === 's'), ...all.filter(({ unit }) => unit !== 's')];
  }
}
