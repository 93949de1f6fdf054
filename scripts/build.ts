/**
 * Bundles src/ into dist/: `cli.cjs` as one CommonJS file (an ES module entry starts 29 ms slower), the rest as ES modules that share
 * chunks. Writes beside dist/ and renames, so that a killed build leaves the old one whole.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const top = fileURLToPath(new URL('..', import.meta.url));
const target = `${top}dist`;
const staging = `${target}.${process.pid}`;

const modules = {
  daemon: 'src/daemon/main.ts',
  worker: 'src/daemon/worker.ts',
  database: 'src/store/database/thread.ts',
  doctor: 'src/host/doctor.ts',
  demo: 'src/demo/main.ts',
  'build-api': 'src/build-api/index.ts',
  evaluate: 'src/build-api/evaluate.ts',
};

const common = {
  cwd: top,
  platform: 'node' as const,
  // Native: its prebuilt library is found beside its own package.
  external: ['koffi'],
  onwarn: (warning: { code?: string; message: string }) => {
    if (warning.code !== 'EVAL') process.stderr.write(`${warning.message}\n`);
  },
};

async function bundle(): Promise<void> {
  removeLeftovers();
  mkdirSync(staging, { recursive: true });
  const cli = await rolldown({ ...common, input: { cli: 'src/cli/main.ts' } });
  await cli.write({
    dir: staging,
    format: 'cjs',
    entryFileNames: '[name].cjs',
    codeSplitting: false,
    sourcemap: false,
    minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
  });
  await cli.close();
  const rest = await rolldown({ ...common, input: modules });
  await rest.write({ dir: staging, format: 'esm', entryFileNames: '[name].mjs', chunkFileNames: 'chunk-[hash].mjs', sourcemap: true });
  await rest.close();
  writeFileSync(`${staging}/built`, '');
  swap();
}

/** What a killed build left. The set-up's lock lets one build run at a time. */
function removeLeftovers(): void {
  for (const name of readdirSync(top)) if (/^dist\.(old\.)?\d+$/.test(name)) rmSync(`${top}${name}`, { recursive: true, force: true });
}

function swap(): void {
  const old = `${target}.old.${process.pid}`;
  if (existsSync(target)) renameSync(target, old);
  renameSync(staging, target);
  rmSync(old, { recursive: true, force: true });
}

try {
  await bundle();
} finally {
  rmSync(staging, { recursive: true, force: true });
}
