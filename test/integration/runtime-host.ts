/** A process that holds an engine, for tests that kill it: `node runtime-host.ts DIRECTORY`; one command a line on stdin, one JSON answer a line. */
import { createInterface } from 'node:readline';
import { openEngine } from './runtime-support.ts';

const { engine } = openEngine(process.argv[2] ?? '');
await engine.recover();
process.stdout.write('"ready"\n');

const commands: Record<string, (...args: string[]) => Promise<unknown>> = {
  async run(name = '', script = '', host = '{}') {
    const { record } = await engine.create(
      { Image: 'busybox', Cmd: ['sh', '-c', script], HostConfig: { NetworkMode: 'none', ...JSON.parse(host) } },
      { name },
    );
    await engine.start(record.id);
    return record.id;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command = '', ...args] = JSON.parse(line) as string[];
  const answer = await commands[command]?.(...args).catch((error: unknown) => ({ error: String(error) }));
  process.stdout.write(`${JSON.stringify(answer ?? null)}\n`);
}
