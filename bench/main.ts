/** `npm run bench -- NAME [--runs N] [--docker start|unix:///…] [--podman] [--small]`: medians of several runs, the machine and versions, and a JSON file kept in bench/results/. */
import { mkdir, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { BenchDocker } from './docker.ts';
import { describeMachine } from './machine.ts';
import { formatTable, type Measure } from './measure.ts';
import { suites } from './suites.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '5' },
    docker: { type: 'string' },
    podman: { type: 'boolean', default: false },
    small: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const name = positionals[0];
const suite = name === undefined ? undefined : suites[name];
if (suite === undefined || values.help) {
  const known = Object.entries(suites).map(([key, { about }]) => `  ${key.padEnd(12)} ${about}`);
  process.stdout.write(
    `Usage: npm run bench -- NAME [--runs N] [--docker start | --docker unix:///path/docker.sock] [--podman] [--small]\n\n${known.join('\n')}\n`,
  );
  process.exit(name === undefined || values.help ? 0 : 2);
}

const runs = Number(values.runs);
if (!Number.isInteger(runs) || runs < 1 || runs > 100) throw new Error(`--runs takes a whole number from 1 to 100, not "${values.runs}"`);
await using docker = await BenchDocker.open(values.docker);
const machine = await describeMachine(docker?.host);
process.stdout.write(
  `${Object.entries(machine)
    .map(([key, value]) => `${key}: ${value}`)
    .join('\n')}\n\n`,
);

const measures: Measure[] = await suite.run({
  runs,
  docker,
  podman: values.podman,
  small: values.small,
  say: (text) => process.stderr.write(`${text}\n`),
});
process.stdout.write(formatTable(measures));

const results = new URL('./results/', import.meta.url);
await mkdir(results, { recursive: true });
const file = new URL(`${name}-${new Date().toISOString().replaceAll(':', '')}.json`, results);
await writeFile(file, `${JSON.stringify({ name, runs, machine, measures }, null, 2)}\n`);
process.stdout.write(`\nkept in ${file.pathname}\n`);
