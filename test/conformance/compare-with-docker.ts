/**
 * Builds the rows of this suite with the BuildKit of a Docker engine, and tells where it does otherwise than they say. Run by hand, where Docker is:
 *
 *     node test/conformance/compare-with-docker.ts [TOPIC]     with DOCKER_HOST set; DOCKER names the client
 *
 * An engine of an age knows less than the rows do (20.10 has no heredocs, --parents, checks, patterns in substitutions), so what it refuses is only counted.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { RunConfig } from '../../src/oci/image.ts';
import { writeFiles } from '../support/builds.ts';
import type { Case } from './case.ts';
import { baseFiles, topics } from './topics.ts';

const docker = process.env.DOCKER ?? 'docker';
const environment = { ...process.env, DOCKER_BUILDKIT: '1', BUILDKIT_PROGRESS: 'plain' };
const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'slipway-compare-'));
const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

type Verdict = { kind: 'same' } | { kind: 'refused' | 'differs'; why: string };

function makeBases(): void {
  const root = join(folder, 'base');
  writeFiles(root, { ...baseFiles, 'bin/': {} });
  execFileSync('cp', ['/bin/busybox', join(root, 'bin/busybox')]);
  for (const name of [
    'sh',
    'cat',
    'echo',
    'ls',
    'mkdir',
    'rm',
    'touch',
    'chmod',
    'sleep',
    'true',
    'false',
    'env',
    'date',
    'mv',
    'ln',
    'pwd',
    'stat',
    'id',
    'chown',
    'test',
    'cp',
    'head',
    'tr',
  ])
    execFileSync('ln', ['-sf', 'busybox', join(root, 'bin', name)]);
  load(root, 'base', []);
  const trigger = join(folder, 'trigger');
  writeFiles(trigger, { f: 'from the image\n' });
  load(trigger, 'trigger', ['ONBUILD COPY extra /extra', 'ONBUILD ENV triggered=yes', 'LABEL from=image']);
}

function load(root: string, name: string, changes: readonly string[]): void {
  const file = `${root}.tar`;
  execFileSync('tar', ['--numeric-owner', '-C', root, '-cf', file, '.']);
  execFileSync(docker, ['import', ...changes.flatMap((change) => ['--change', change]), file, name], { env: environment, stdio: 'pipe' });
}

async function compare(row: Case, number: number): Promise<Verdict> {
  const context = join(folder, `c${number}`);
  mkdirSync(context, { recursive: true });
  writeFiles(context, row.files ?? {});
  const definition = join(folder, `Dockerfile.${number}`);
  writeFileSync(definition, row.dockerfile);
  const { buildArgs = {}, labels = {}, target } = row.request ?? {};
  const flags = [
    ...Object.entries(buildArgs).flatMap(([key, value]) => ['--build-arg', `${key}=${value}`]),
    ...Object.entries(labels).flatMap(([key, value]) => ['--label', `${key}=${value}`]),
    ...(target === undefined ? [] : ['--target', target]),
  ];
  const build = (...more: string[]) =>
    run(docker, ['build', '--network', 'none', '-f', definition, ...flags, ...more, context], {
      env: environment,
      encoding: 'buffer',
      maxBuffer: 1 << 28,
    });
  let tar: Buffer;
  try {
    tar = (await build('-o', 'type=tar,dest=-')).stdout;
  } catch (error) {
    const why =
      String((error as { stderr?: Buffer }).stderr)
        .trim()
        .split('\n')
        .at(-1) ?? '';
    return row.error === undefined ? { kind: 'refused', why } : { kind: 'same' };
  }
  if (row.error !== undefined) return { kind: 'differs', why: `it builds, and we say ${row.error}` };
  return compareTree(row, tar) ?? (await compareConfig(row, build)) ?? { kind: 'same' };
}

function compareTree(row: Case, tar: Buffer): Verdict | undefined {
  const lines = listTar(tar);
  const differ = (why: string): Verdict => ({
    kind: 'differs',
    why: `${why}\n      ${lines.filter((line) => !/ bin(\/|\s)/.test(line)).join('\n      ')}`,
  });
  if (row.tree !== undefined && [...row.tree].sort().join('\n') !== [...lines].sort().join('\n'))
    return differ(`we have ${row.tree.join(' | ')}`);
  const missing = (row.has ?? []).find((line) => !lines.includes(line));
  if (missing !== undefined) return differ(`it lacks ${missing}`);
  const extra = (row.lacks ?? []).find((name) => lines.some((line) => line.split(' ')[1] === name));
  return extra === undefined ? undefined : differ(`it has ${extra}`);
}

async function compareConfig(row: Case, build: (...more: string[]) => Promise<unknown>): Promise<Verdict | undefined> {
  if (row.config === undefined && row.history === undefined) return undefined;
  await build('-t', 'compared', '-q');
  const text = execFileSync(docker, ['image', 'inspect', 'compared'], { env: environment }).toString();
  const [image] = JSON.parse(text) as [{ Config: RunConfig }];
  const actual = plain(image.Config);
  const expected = plain(row.config ?? {});
  if (row.config !== undefined && stable(actual) !== stable(expected)) {
    return { kind: 'differs', why: `its config is ${stable(actual)}\n      and ours        ${stable(expected)}` };
  }
  if (row.history === undefined) return undefined;
  const format = '{{.Comment}}\t{{.Size}}\t{{.CreatedBy}}';
  const listed = execFileSync(docker, ['history', '--no-trunc', '--format', format, 'compared'], { env: environment }).toString();
  const commands = listed
    .trimEnd()
    .split('\n')
    .map((line) => line.split('\t'))
    .filter(([comment]) => comment === 'buildkit.dockerfile.v0')
    .map(([, , created = '']) => created)
    .reverse();
  const ours = row.history.map((line) => line.replace(/^~/, ''));
  return stable(commands) === stable(ours)
    ? undefined
    : { kind: 'differs', why: `its history is ${stable(commands)}\n      and ours         ${stable(ours)}` };
}

/** Without what is empty, and without what `docker image inspect` adds. */
function plain(config: RunConfig): Record<string, unknown> {
  const kept = Object.entries(config).filter(
    ([name, value]) =>
      !['Hostname', 'Domainname', 'Image', 'AttachStdin', 'AttachStdout', 'AttachStderr', 'Tty', 'OpenStdin', 'StdinOnce'].includes(name) &&
      value !== null &&
      value !== '',
  );
  const result: Record<string, unknown> = Object.fromEntries(kept);
  const env = (config.Env ?? []).filter((item) => item !== path);
  if (env.length > 0) result.Env = env;
  else delete result.Env;
  return result;
}

function stable(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

/** `type path mode uid:gid [content]`, as the suite writes it. */
function listTar(tar: Buffer): string[] {
  const lines: string[] = [];
  const contents = new Map<string, string>();
  let longName: string | undefined;
  for (let at = 0; at + 512 <= tar.length; ) {
    const header = tar.subarray(at, at + 512);
    if (header[0] === 0) break;
    const text = (from: number, length: number) =>
      header
        .subarray(from, from + length)
        .toString('utf8')
        .replace(/\0[\s\S]*$/, '');
    const octal = (from: number, length: number) => Number.parseInt(text(from, length).trim() || '0', 8);
    const size = octal(124, 12);
    const body = tar.subarray(at + 512, at + 512 + size);
    at += 512 + Math.ceil(size / 512) * 512;
    const type = String.fromCharCode(header[156] ?? 0);
    if (type === 'L' || type === 'x') {
      longName =
        type === 'L' ? body.toString('utf8').replace(/\0+$/, '') : (/^\d+ path=(.*)$/m.exec(body.toString('utf8'))?.[1] ?? longName);
      continue;
    }
    const name = (longName ?? text(0, 100)).replace(/^\.?\//, '').replace(/\/$/, '');
    longName = undefined;
    if (name === '') continue;
    const meta = `${(octal(100, 8) & 0o7777).toString(8)} ${octal(108, 8)}:${octal(116, 8)}`;
    const content = size > 200 ? `${size} bytes` : JSON.stringify(body.toString('utf8'));
    if (type === '0' || type === '\0') contents.set(name, content);
    if (type === '5') lines.push(`d ${name} ${meta}`);
    else if (type === '2') lines.push(`l ${name} 777 ${meta.split(' ')[1]} -> ${text(157, 100)}`);
    else if (type === '1') lines.push(`f ${name} ${meta} ${contents.get(text(157, 100).replace(/^\.?\//, '')) ?? ''}`);
    else lines.push(`f ${name} ${meta} ${content}`);
  }
  return lines;
}

async function main(): Promise<void> {
  const [wanted] = process.argv.slice(2);
  makeBases();
  const counts = { same: 0, refused: 0, differs: 0 };
  const rows = Object.entries(topics).flatMap(([topic, cases]) =>
    wanted === undefined || wanted === topic ? cases.map((row) => ({ topic, row })) : [],
  );
  for (const [number, { topic, row }] of rows.entries()) {
    if (row.contexts !== undefined || row.secrets !== undefined) continue;
    const verdict = await compare(row, number);
    counts[verdict.kind]++;
    if (verdict.kind !== 'same') process.stdout.write(`${verdict.kind}  ${topic}: ${row.name}\n      ${verdict.why}\n`);
  }
  process.stdout.write(`${JSON.stringify(counts)}\n`);
}

try {
  await main();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
