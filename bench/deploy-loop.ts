import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { changeOneLine } from './application.ts';
import { BenchDocker } from './docker.ts';
import { BenchEngine } from './engine.ts';
import type { Measure } from './measure.ts';
import { BenchPodman } from './podman.ts';
import type { BenchRegistry } from './registry.ts';
import type { WireCount } from './relay.ts';
import { warmPageCache } from './store.ts';

type Cli = { cli(...words: string[]): Promise<string> };

/** Who builds and pushes, and the hosts that then pull and run. */
export type Deployer = {
  name: string;
  /** The whole is measured against this many seconds and bytes, by host. */
  hosts: { name: string; engine: Cli; aimSeconds?: number; aimBytes?: number }[];
  engine: Cli;
  /** Words for push and pull, and for run. */
  words?: { transfer: string[]; run: string[] };
  aims?: { push?: number; pull?: number };
  /** Rounds that are not counted, and those that are. */
  rounds: { warmUp: number; counted: number };
};

/** What a deployed container does: end at once. The file comes with the application. */
const trueCommand = ['/app/busybox', 'true'];

/** Everything that starts engines for a deployment, ended together. `namespaceOf` as with the engines. */
export async function openDeployers(
  stack: AsyncDisposableStack,
  options: { runs: number; docker: boolean; podman: boolean; namespaceOf?: number | undefined },
): Promise<Deployer[]> {
  const place = { namespaceOf: options.namespaceOf };
  const shared = { namespaceOf: options.namespaceOf ?? process.pid };
  const [builder, host] = [stack.use(await BenchEngine.start(place)), stack.use(await BenchEngine.start(place))];
  const slipway: Deployer = {
    name: 'slipway',
    engine: builder,
    hosts: [{ name: 'slipway', engine: host, aimSeconds: 3, aimBytes: 200_000 }],
    aims: { push: 20, pull: 12 },
    rounds: { warmUp: 1, counted: options.runs },
  };
  const deployers = [slipway];
  if (options.docker) {
    const [near, far] = [stack.use(await BenchDocker.start(shared)), stack.use(await BenchDocker.start(shared))];
    slipway.hosts.push({ name: 'docker 20.10', engine: far, aimSeconds: 4, aimBytes: 1_000_000 });
    const docker = { cli: (...words: string[]) => near.cli(...words) };
    deployers.push({ name: 'docker', engine: docker, hosts: [{ name: 'docker 20.10', engine: far }], rounds: { warmUp: 0, counted: 1 } });
  }
  if (options.podman && BenchPodman.installed) {
    const [near, far] = [stack.use(new BenchPodman(place)), stack.use(new BenchPodman(place))];
    deployers.push({
      name: 'podman',
      engine: near,
      hosts: [{ name: 'podman', engine: far }],
      // Its defaults may be over this process's limits, which cannot be raised everywhere.
      words: { transfer: ['--tls-verify=false'], run: ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000'] },
      rounds: { warmUp: 0, counted: 1 },
    });
  }
  return deployers;
}

/** Cold: the first build, push and pull. Then as often as asked: one line changed, build, push, pull, run `true`. Whole processes, one after the other. */
export async function measureDeployment(
  deployer: Deployer,
  registry: BenchRegistry,
  application: string,
  say: (text: string) => void,
): Promise<Measure[]> {
  const rows = new Map<string, Measure>();
  const add = (name: string, unit: Measure['unit'], value: number, aim?: number) => {
    const row = rows.get(name) ?? { name, unit, values: [], aim };
    row.values.push(value);
    rows.set(name, row);
  };
  copyFileSync('/usr/bin/busybox', join(application, 'busybox'));
  warmPageCache(application);
  const { name, engine, hosts } = deployer;
  const { transfer, run } = deployer.words ?? { transfer: [], run: [] };
  const repository = `${registry.address}/${name}/application`;
  const round = async (tag: string, kind: 'cold' | 'one line', counted: boolean) => {
    const put = (what: string, unit: Measure['unit'], value: number, aim?: number) => {
      say(`${name}, ${kind}: ${what}: ${unit === 's' ? `${value.toFixed(2)} s` : `${value} bytes`}`);
      if (counted) add(`${name}, ${kind}: ${what}${unit === 'bytes' ? ', on the wire' : ''}`, unit, value, aim);
    };
    const aims = kind === 'cold' ? deployer.aims : undefined;
    const image = `${repository}:${tag}`;
    const built = await seconds(() => engine.cli('build', '-q', '-t', image, application));
    put('build', 's', built);
    await registry.passed();
    const pushed = await seconds(() => engine.cli('push', ...transfer, image));
    const sent = sum(await registry.passed());
    put('push', 's', pushed, aims?.push);
    put('push', 'bytes', sent);
    for (const [index, host] of hosts.entries()) {
      const pulled = await seconds(() => host.engine.cli('pull', ...transfer, image));
      const received = sum(await registry.passed());
      put(`pull by ${host.name}`, 's', pulled, index === 0 ? aims?.pull : undefined);
      put(`pull by ${host.name}`, 'bytes', received);
      const ran = await seconds(() => host.engine.cli('run', '--rm', '--network', 'host', ...run, image, ...trueCommand));
      put(`run true by ${host.name}`, 's', ran);
      if (kind === 'cold') continue;
      put(`whole loop into ${host.name}`, 's', built + pushed + pulled + ran, host.aimSeconds);
      put(`whole loop into ${host.name}`, 'bytes', sent + received, host.aimBytes);
    }
  };
  await round('1', 'cold', true);
  const { warmUp, counted } = deployer.rounds;
  for (let index = 0; index < warmUp + counted; index++) {
    changeOneLine(application);
    await round(String(index + 2), 'one line', index >= warmUp);
  }
  return [...rows.values()];
}

/** A small application of the same shape, to try the benches with. */
export function smallApplication(folder: string): string {
  writeFileSync(join(folder, 'Dockerfile'), 'FROM scratch\nCOPY . /app\nCMD ["/app/busybox", "true"]\n');
  for (let index = 0; index < 300; index++)
    writeFileSync(join(folder, `module-${index}.js`), `export const n = ${index};\n`.repeat(1 + (index % 200)));
  changeOneLine(folder);
  return folder;
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

function sum({ up, down }: WireCount): number {
  return up + down;
}
