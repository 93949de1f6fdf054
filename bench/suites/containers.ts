import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Client, clientsOf, timeClients } from '../clients.ts';
import { type BenchDocker, dockerClient } from '../docker.ts';
import { BenchEngine } from '../engine.ts';
import type { Measure } from '../measure.ts';
import type { BenchOptions } from '../suites.ts';

const run = promisify(execFile);
const [many, listed, watched] = [50, 500, 100];
/** Ends at once when it is asked to, as a good service does. */
const service = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait; done'];

type Sides = {
  engine: BenchEngine;
  docker: BenchDocker | undefined;
  image: string;
  clients: Client[];
  runs: number;
  say: (text: string) => void;
};

/** What is done to containers that are there, beside Docker. */
export async function benchContainers({ runs, docker, say }: BenchOptions): Promise<Measure[]> {
  await using engine = await BenchEngine.start();
  const image = await engine.importBusybox();
  await docker?.take(engine, image);
  const clients = clientsOf(engine, docker).filter(({ name }) => name !== 'slipway in its checkout');
  const sides: Sides = { engine, docker, image, clients, runs, say };
  const measures: Measure[] = [];
  for (const part of [execs, startsAndStops, listings, statistics, largeLogs]) {
    measures.push(...(await part(sides)));
    await engine.removeContainers();
    await docker?.removeContainers();
  }
  return measures;
}

/** Those that hold the containers: one client of each daemon. */
function owners({ clients }: Sides): Client[] {
  return clients.filter(({ name }) => name !== 'docker client on slipway');
}

async function execs(sides: Sides): Promise<Measure[]> {
  sides.say('exec');
  for (const owner of owners(sides)) await owner.run('run', '-d', '--name', 'server', sides.image, ...service);
  return timeClients('exec true', sides.clients, Math.max(sides.runs, 15), (client) => client.run('exec', 'server', 'true'));
}

async function startsAndStops(sides: Sides): Promise<Measure[]> {
  sides.say(`start and stop of ${many}`);
  const names = Array.from({ length: many }, (_, index) => `s${index}`);
  for (const owner of owners(sides)) for (const name of names) await owner.run('create', '--name', name, sides.image, ...service);
  const state = new Map<Client, boolean>();
  const put = async (client: Client, running: boolean) => {
    if ((state.get(client) ?? false) !== running) await client.run(running ? 'start' : 'stop', ...names);
    state.set(client, running);
  };
  const turn = async (running: boolean) => {
    // Two of the clients share a daemon: each finds and leaves it as it was.
    return timeClients(
      `${running ? 'start' : 'stop'} ${many}`,
      sides.clients,
      sides.runs,
      async (client) => client.run(running ? 'start' : 'stop', ...names),
      {
        before: async (client) => {
          const daemon = client.name === 'docker' ? client : (sides.clients[0] ?? client);
          state.set(daemon, running);
          await client.run(running ? 'stop' : 'start', ...names);
        },
      },
    );
  };
  const measures = [...(await turn(true)), ...(await turn(false))];
  for (const owner of owners(sides)) await put(owner, false);
  return measures;
}

async function listings(sides: Sides): Promise<Measure[]> {
  sides.say(`ps with ${listed}`);
  for (const owner of owners(sides))
    for (let at = 0; at < listed; at += 10) await Promise.all(Array.from({ length: 10 }, () => owner.run('create', sides.image, 'true')));
  return timeClients(`ps -a with ${listed}`, sides.clients, Math.max(sides.runs, 9), (client) => client.run('ps', '-a'));
}

async function statistics(sides: Sides): Promise<Measure[]> {
  sides.say(`stats of ${watched}`);
  for (const owner of owners(sides))
    for (let at = 0; at < watched; at += 10)
      await Promise.all(Array.from({ length: 10 }, () => owner.run('run', '-d', '--network', 'none', sides.image, ...service)));
  return timeClients(`stats --no-stream of ${watched}`, sides.clients, sides.runs, (client) => client.run('stats', '--no-stream'));
}

/** Lines of 100 bytes: how long the container takes to write them, and how long it takes to read them back. */
async function largeLogs(sides: Sides): Promise<Measure[]> {
  sides.say('logs of 1 GB');
  const measures: Measure[] = [];
  const line = 'x'.repeat(99);
  const script = `yes ${line} | head -c 1000000000`;
  for (const owner of owners(sides)) {
    const own = owner.name === 'docker' ? [] : ['--log-opt', 'max-size=-1'];
    const start = performance.now();
    await owner.run('run', '-d', '--name', 'talker', '--network', 'none', ...own, sides.image, 'sh', '-c', script);
    await owner.run('wait', 'talker');
    measures.push({
      name: `write 1 GB of log: ${owner.name}`,
      unit: 's',
      values: [(performance.now() - start) / 1000],
      peer: owner.name === 'docker' || sides.docker === undefined ? undefined : 'write 1 GB of log: docker',
    });
  }
  const shell = (client: Client) => {
    const host = client.name === 'docker' ? (sides.docker?.host ?? '') : `unix://${sides.engine.socket}`;
    return run(
      'sh',
      ['-c', `exec ${client.name === 'slipway' ? `"$0"` : `${dockerClient} -H ${host}`} logs talker > /dev/null`, sides.engine.launcher],
      { env: sides.engine.environment },
    );
  };
  measures.push(...(await timeClients('logs of 1 GB', sides.clients, Math.min(sides.runs, 3), shell)));
  return measures;
}
