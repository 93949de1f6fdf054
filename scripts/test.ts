/**
 * Runs test files, each in a process of its own, and tells what failed as the last thing: `node scripts/test.ts [FILE…]`.
 *
 * Files that share nothing with others on this host run beside those that own networks, control groups and daemons, which run one by one.
 * A file that takes too long is killed with all that it started, and has failed. Whatever a file leaves in its temporary folder is named and
 * removed. The last line has the counts; the status is 1 when anything failed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, closeSync, existsSync, globSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { TestLine } from './test-events.ts';
import { closingLines, type Failure, type FileResult, resultOf } from './test-report.ts';

const top = join(import.meta.dirname, '..');
const reporter = join(import.meta.dirname, 'test-events.ts');
/** Four minutes are more than any test needs on a slow host; one that waits for what does not come ends, and has a name. */
const testLimitMs = 240_000;
const fileLimitMs = 900_000;
/** Between the signal to end and the one that is not asked. */
const graceMs = 5_000;

/** The slowest first. */
const patterns = ['test/clients/*.test.ts', 'test/*/*.test.ts', 'src/**/*.test.ts'];
/**
 * Files that own what a host has once, such as bridges and subnets, control groups, published ports and time: those of clients, and those
 * with a helper that starts daemons, networks or containers.
 */
const helpers =
  /from '[./]*(integration\/|support\/|clients\/)?(api-daemon-harness|network-[a-z-]+|runtime-[a-z-]+|step-[a-z-]+|support|docker-peer|oci-peers)\.ts'/;
const ownsHost = (file: string) => file.startsWith('test/clients/') || helpers.test(readFileSync(join(top, file), 'utf8'));

const results = mkdtempSync(join(tmpdir(), 'slipway-results-'));
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) end(child, 'SIGKILL');
  rmSync(results, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));

/** The process and all that it started without taking them out of its group. */
function end(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // They have all ended.
  }
}

/** Runs the program to its end or to the limit; what it prints goes to a file, so that whoever it leaves behind holds nothing up. */
async function run(args: readonly string[], log: string, env: NodeJS.ProcessEnv, limitMs: number): Promise<{ status: string; ms: number }> {
  const output = openSync(log, 'w');
  const startedAt = performance.now();
  const [program = '', ...rest] = args;
  const child = spawn(program, rest, { cwd: top, env, stdio: ['ignore', output, output], detached: true });
  closeSync(output);
  running.add(child);
  let late = false;
  const limit = setTimeout(() => {
    late = true;
    end(child, 'SIGTERM');
    setTimeout(() => end(child, 'SIGKILL'), graceMs).unref();
  }, limitMs);
  const status = await new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(code === 0 ? '' : signal === null ? `ended with ${code}` : `was ended by ${signal}`));
  });
  clearTimeout(limit);
  end(child, 'SIGKILL');
  running.delete(child);
  return { status: late ? `took longer than ${limitMs / 1000} seconds and was killed` : status, ms: performance.now() - startedAt };
}

async function runFile(file: string): Promise<FileResult> {
  const name = file.replaceAll('/', '+');
  const [events, log] = [join(results, `${name}.events`), join(results, `${name}.log`)];
  const temporary = mkdtempSync(join(tmpdir(), 'st-'));
  // As the folder that it stands for: users of a user namespace go through it.
  chmodSync(temporary, 0o1777);
  const cache = join(top, 'node_modules/.cache/compiled');
  const env = { ...process.env, TMPDIR: temporary, NODE_COMPILE_CACHE: cache };
  const reports = [`--test-reporter=${reporter}`, `--test-reporter-destination=${events}`];
  const { status, ms } = await run(
    [process.execPath, '--test', '--test-isolation=none', `--test-timeout=${testLimitMs}`, ...reports, file],
    log,
    env,
    fileLimitMs,
  );
  const lines = existsSync(events) ? readFileSync(events, 'utf8').split('\n').slice(0, -1) : [];
  const result = resultOf(
    file,
    lines.map((line) => JSON.parse(line) as TestLine),
    { status, ms, log: readFileSync(log, 'utf8'), left: clear(temporary) },
  );
  process.stdout.write(result.text);
  return result;
}

/** Removes a folder and says what was in it; nothing that is mounted there is gone into. */
function clear(folder: string): string[] {
  const left = readdirSync(folder);
  spawnSync('rm', ['-rf', '--one-file-system', folder]);
  return left;
}

async function check(): Promise<Failure[]> {
  const failures: Failure[] = [];
  for (const [name, ...args] of [
    ['types', 'tsc', '-p', '.'],
    ['style', 'biome', 'check', '--error-on-warnings'],
    ['imports', 'depcruise', '--no-progress', 'src', 'bench', 'scripts'],
    ['unused', 'knip'],
  ] as const) {
    const log = join(results, `${name}.log`);
    const { status, ms } = await run(args, log, process.env, fileLimitMs);
    process.stdout.write(`\n${status === '' ? '✔' : '✖'} ${args.join(' ')} (${(ms / 1000).toFixed(1)} s)\n`);
    if (status !== '') failures.push({ where: args.join(' '), error: `${status}\n${readFileSync(log, 'utf8')}` });
  }
  return failures;
}

async function main(chosen: readonly string[]): Promise<void> {
  const done: FileResult[] = [];
  const take = async (files: string[]) => {
    for (let file = files.shift(); file !== undefined; file = files.shift()) done.push(await runFile(file));
  };
  const files = new Set(patterns.flatMap((pattern) => globSync(pattern, { cwd: top }).sort()));
  const alone = chosen.length > 0 ? chosen.map((file) => relative(top, file)) : [...files].filter(ownsHost);
  const others = chosen.length > 0 ? [] : [...files].filter((file) => !alone.includes(file));
  const workers = Array.from({ length: Math.max(1, availableParallelism() - 1) }, () => others);
  const checked = chosen.length > 0 ? Promise.resolve([]) : check();
  const aside = checked.then(() => Promise.all(workers.map(take)));
  await take(alone);
  await Promise.all([take(others), aside]);
  process.stdout.write(closingLines(done, await checked));
  process.exitCode = done.some(({ failures }) => failures.length > 0) || (await checked).length > 0 ? 1 : 0;
}

await main(process.argv.slice(2));
