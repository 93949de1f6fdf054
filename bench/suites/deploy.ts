import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareApplication } from '../application.ts';
import { measureDeployment, openDeployers, smallApplication } from '../deploy-loop.ts';
import { Link } from '../link.ts';
import type { Measure } from '../measure.ts';
import { BenchRegistry } from '../registry.ts';
import type { BenchOptions } from '../suites.ts';

/** The registry on loopback. */
export async function benchDeploy(options: BenchOptions): Promise<Measure[]> {
  return await deploy(options);
}

/** The registry behind a link of 100 Mbit/s and 20 ms, every engine before it. */
export async function benchLink(options: BenchOptions): Promise<Measure[]> {
  await using link = await Link.open();
  options.say(
    `a link of ${Link.megabits} Mbit/s by tc tbf; its round trip of ${Link.roundTripMs} ms by ${link.madeBy === 'netem' ? 'tc netem' : 'a relay'}`,
  );
  return await deploy(options, link);
}

async function deploy({ runs, docker, podman, small, say }: BenchOptions, link?: Link): Promise<Measure[]> {
  await using stack = new AsyncDisposableStack();
  const registry = stack.use(await BenchRegistry.start(link));
  const application = small ? smallApplication(temporaryFolder(stack)) : prepareApplication(say);
  const measures: Measure[] = [];
  for (const deployer of await openDeployers(stack, { runs, docker: docker !== undefined, podman, namespaceOf: link?.nearEnd }))
    measures.push(...(await measureDeployment(deployer, registry, application, say)));
  return measures;
}

function temporaryFolder(stack: AsyncDisposableStack): string {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-bench-application-'));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
