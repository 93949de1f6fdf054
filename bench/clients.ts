import { type ExecFileOptions, execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type BenchDocker, dockerClient } from './docker.ts';
import { type BenchEngine, launcher } from './engine.ts';
import type { Measure } from './measure.ts';

const run = promisify(execFile);

/** A command line and the daemon that it talks to. */
export type Client = { name: string; run(...words: string[]): Promise<string> };

/** Ours as it is typed in a checkout, ours as it is installed, Docker's against ours, Docker's against Docker. The last one is what the others are compared with. */
export function clientsOf(engine: BenchEngine, docker: BenchDocker | undefined): Client[] {
  const onEngine = { env: engine.environment, maxBuffer: 64 << 20 };
  return [
    { name: 'slipway', run: (...words) => output(installedCopy(engine), words, onEngine) },
    { name: 'slipway in its checkout', run: (...words) => output(launcher, words, onEngine) },
    { name: 'docker client on slipway', run: (...words) => output(dockerClient, ['-H', `unix://${engine.socket}`, ...words], onEngine) },
    ...(docker === undefined ? [] : [{ name: 'docker', run: (...words: string[]) => docker.cli(...words) }]),
  ];
}

async function output(command: string, words: string[], options: ExecFileOptions): Promise<string> {
  const { stdout } = await run(command, words, { ...options, encoding: 'utf8' });
  return stdout.trim();
}

/** Without .git the launcher does not look for sources that are newer than what was built from them. */
function installedCopy({ directory }: BenchEngine): string {
  const copy = join(directory, 'installed');
  if (mkdirSync(copy, { recursive: true }) !== undefined) {
    const top = join(launcher, '..');
    copyFileSync(launcher, join(copy, 'slipway'));
    for (const name of ['dist', 'node_modules', 'package-lock.json', 'scripts']) symlinkSync(join(top, name), join(copy, name));
  }
  return join(copy, 'slipway');
}

/**
 * One row a client, run in turn so that what else the machine does meets all of them; the first round is not counted. Rows are compared with the last client's
 * when that is Docker.
 */
export async function timeClients(
  name: string,
  clients: readonly Client[],
  runs: number,
  work: (client: Client) => Promise<unknown>,
  options: { aim?: number; before?: (client: Client) => Promise<unknown>; note?: string } = {},
): Promise<Measure[]> {
  const peer = clients.find((client) => client.name === 'docker')?.name;
  const rows = clients.map(
    (client): Measure => ({
      name: `${name}: ${client.name}`,
      unit: 's',
      values: [],
      aim: client.name === 'slipway' ? options.aim : undefined,
      peer: peer === undefined || client.name === peer ? undefined : `${name}: ${peer}`,
      note: options.note,
    }),
  );
  for (let round = -1; round < runs; round++) {
    for (const [index, client] of clients.entries()) {
      await options.before?.(client);
      const start = performance.now();
      await work(client);
      if (round >= 0) rows[index]?.values.push((performance.now() - start) / 1000);
    }
  }
  return rows;
}
