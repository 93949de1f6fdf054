import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const top = fileURLToPath(new URL('../..', import.meta.url));
const plants: { name: string; file: string; source: string; rule: string }[] = [
  {
    name: 'the store reaching up to a feature',
    file: 'src/store/planted.ts',
    source: "export * from '../build/port.ts';\n",
    rule: 'store-imports',
  },
  {
    name: 'a feature reaching into another one',
    file: 'src/build/planted.ts',
    source: "export * from '../store-free.ts';\nexport * from '../network/planted-inside.ts';\n",
    rule: 'features-reach-each-other-through-ports',
  },
  {
    name: 'the command line importing the store',
    file: 'src/cli/planted.ts',
    source: "export * from '../store/port.ts';\n",
    rule: 'cli-imports',
  },
  {
    name: 'an API route reaching past a port',
    file: 'src/api/planted.ts',
    source: "export * from '../network/planted-inside.ts';\n",
    rule: 'api-sees-ports',
  },
];

let copy: string;

before(async () => {
  copy = await mkdtemp(join(tmpdir(), 'slipway-house-'));
  for (const name of ['src', 'package.json', 'tsconfig.json', '.dependency-cruiser.cjs'])
    await cp(join(top, name), join(copy, name), { recursive: true });
  await symlink(join(top, 'node_modules'), join(copy, 'node_modules'));
  await mkdir(join(copy, 'src/network'), { recursive: true });
  await writeFile(join(copy, 'src/network/planted-inside.ts'), 'export const inside = 1;\n');
  await writeFile(join(copy, 'src/store-free.ts'), 'export const free = 1;\n');
});

after(() => rm(copy, { recursive: true, force: true }));

/** Runs dependency-cruiser over the copy; resolves to its exit status and report. */
function cruise(): Promise<{ status: number; report: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['node_modules/.bin/depcruise', '--no-progress', 'src'], { cwd: copy }, (error, stdout) => {
      resolve({ status: error === null ? 0 : Number(error.code ?? 1), report: stdout });
    });
  });
}

test('the rooms as they are hold, and dependency-cruiser really reads them', async () => {
  const { status, report } = await cruise();
  assert.equal(status, 0, report);
  const modules = Number(/\((\d+) modules/.exec(report)?.[1]);
  assert.ok(modules > 50, `only ${modules} modules were read: ${report}`);
});

for (const plant of plants) {
  test(`dependency-cruiser catches ${plant.name}`, async () => {
    await writeFile(join(copy, plant.file), plant.source);
    try {
      const { status, report } = await cruise();
      assert.notEqual(status, 0);
      assert.match(report, new RegExp(`${plant.rule}: ${plant.file}`));
    } finally {
      await rm(join(copy, plant.file));
    }
  });
}
