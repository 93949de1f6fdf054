import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { fileURLToPath } from 'node:url';

const cache = fileURLToPath(new URL('./.cache/', import.meta.url));
const dockerfile = 'FROM scratch\nCOPY . /app\nCMD ["/app/main"]\n';

/** Successive releases of Angular's builder with its command line: it names most of its dependencies exactly, so each release is another tree. */
const versions = Array.from({ length: 10 }, (_, index) => `17.3.${index}`);

/** Ten published versions of a large package and everything that each needs, a folder each; made once (some minutes, 300 MB of downloads). */
export function prepareReleases(say: (text: string) => void, count = versions.length): string[] {
  return versions.slice(0, count).map((version) => {
    const target = `${cache}releases/${version}`;
    if (existsSync(`${target}/Dockerfile`)) return target;
    say(`installing release ${version} (once)`);
    const staging = `${target}.${process.pid}`;
    mkdirSync(staging, { recursive: true });
    try {
      writeFileSync(`${staging}/package.json`, `${JSON.stringify({ name: 'release', version, private: true }, null, 2)}\n`);
      const packages = [`@angular-devkit/build-angular@${version}`, `@angular/cli@${version}`];
      const options = ['--ignore-scripts', '--legacy-peer-deps', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];
      execFileSync('npm', ['install', ...options, ...packages], { cwd: staging, stdio: ['ignore', 'ignore', 'inherit'] });
      writeFileSync(`${staging}/Dockerfile`, dockerfile);
      rmSync(target, { recursive: true, force: true });
      renameSync(staging, target);
    } finally {
      rmSync(staging, { recursive: true, force: true });
    }
    return target;
  });
}

/**
 * A program of 200 MB, real machine code, in two versions: the second has forty places where some bytes were put in, a thousand where an address differs, and one new
 * section of 256 KiB.
 */
export function makeBinaries(folder: string, megabytes = 200): string[] {
  const code = readFileSync(process.execPath);
  const random = randomOf(7);
  const size = megabytes * 1_000_000;
  const parts: Buffer[] = [];
  for (let have = 0; have < size; have += code.length) {
    // Not the same bytes again: the second copy of the program is another program.
    const copy = Buffer.from(code.subarray(0, Math.min(code.length, size - have)));
    if (have > 0) for (let at = 0; at < copy.length; at++) copy[at] = (copy[at] ?? 0) ^ ((have >> 3) & 0x5a);
    parts.push(copy);
  }
  const first = Buffer.concat(parts);
  const second = Buffer.from(first);
  for (let index = 0; index < 1000; index++) second.writeUInt32LE(Math.floor(random() * 2 ** 32), Math.floor(random() * (size - 4)));
  const inserts = Array.from({ length: 40 }, () => Math.floor(random() * size)).sort((a, b) => a - b);
  const section = Buffer.from(Array.from({ length: 256 << 10 }, () => Math.floor(random() * 256)));
  return [
    writeRelease(`${folder}/1`, [first]),
    writeRelease(`${folder}/2`, [
      ...inserts.flatMap((at, index) => [
        second.subarray(index === 0 ? 0 : inserts[index - 1], at),
        section.subarray(index, index * 2 + 1),
      ]),
      second.subarray(inserts.at(-1)),
      section,
    ]),
  ];
}

function writeRelease(folder: string, parts: readonly Buffer[]): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/Dockerfile`, dockerfile);
  const fd = openSync(`${folder}/main`, 'w', 0o755);
  for (const part of parts) for (let at = 0; at < part.length; ) at += writeSync(fd, part, at);
  closeSync(fd);
  return folder;
}

/** Mulberry32: the same binary every time. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** What two tools for patches need from one root tar to the next. Times are left out of the tars, which is to their advantage. */
export function patchBytes(folder: string, before: string, after: string): { zstd: number; xdelta3: number } {
  const [old, next, patch] = [`${folder}/old.tar`, `${folder}/new.tar`, `${folder}/patch`];
  try {
    for (const [tar, tree] of [
      [old, before],
      [next, after],
    ] as const)
      execFileSync('tar', ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '-cf', tar, '-C', tree, '.']);
    const size = (command: string, args: string[]) => {
      execFileSync(command, args, { stdio: 'ignore' });
      const bytes = readFileSync(patch).length;
      truncateSync(patch);
      return bytes;
    };
    return {
      zstd: size('zstd', ['-q', '-f', '-3', '--long=31', `--patch-from=${old}`, next, '-o', patch]),
      xdelta3: size('xdelta3', ['-e', '-f', '-q', '-B', String(1 << 30), '-s', old, next, patch]),
    };
  } finally {
    for (const file of [old, next, patch]) rmSync(file, { force: true });
  }
}
