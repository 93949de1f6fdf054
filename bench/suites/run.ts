import { clientsOf, timeClients } from '../clients.ts';
import { BenchEngine } from '../engine.ts';
import type { Measure } from '../measure.ts';
import type { BenchOptions } from '../suites.ts';

const networks = [
  ['host', 0.09],
  ['none', 0.12],
  ['bridge', 0.15],
] as const;

/** From the start of the command to its exit, the container removed. */
export async function benchRun({ runs, docker, say }: BenchOptions): Promise<Measure[]> {
  await using engine = await BenchEngine.start();
  const image = await engine.importBusybox();
  await docker?.take(engine, image);
  const measures: Measure[] = [];
  for (const [network, aim] of networks) {
    say(`run on ${network}`);
    const words = ['run', '--rm', '--network', network, image, 'true'];
    measures.push(
      ...(await timeClients(`run --rm true, ${network}`, clientsOf(engine, docker), Math.max(runs, 15), (client) => client.run(...words), {
        aim,
      })),
    );
  }
  return measures;
}
