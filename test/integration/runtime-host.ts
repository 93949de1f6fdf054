/** A process that holds an engine, for tests that kill it: `node runtime-host.ts DIRECTORY`; one command a line on stdin, one JSON answer a line. */
import { createInterface } from 'node:readline';
import { openEngine } from './runtime-support.ts';

const { engine } = openEngine(process.argv[2] ?? '');
await engine.recover();
process.stdout.write('"ready"\n');

async function create(name = '', script = '', host = '{}'): Promise<string> {
  const { record } = await engine.create(
    { Image: 'busybox', Cmd: ['sh', '-c', script], HostConfig: { NetworkMode: 'none', ...JSON.parse(host) } },
    { name },
  );
  return record.id;
}

const commands: Record<string, (...args: string[]) => Promise<unknown>> = {
  create,
  async exec(id = '', script = '') {
    const exec = { tty: false, openStdin: false, attachStdout: false, attachStderr: false, env: [], privileged: false };
    const { id: execId } = await engine.execCreate(id, { ...exec, args: ['sh', '-c', script] });
    await engine.execStart(execId, { detach: true });
    return execId;
  },
  async run(...args) {
    const id = await create(...args);
    await engine.start(id);
    return id;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command = '', ...args] = JSON.parse(line) as string[];
  const answer = await commands[command]?.(...args).catch((error: unknown) => ({ error: String(error) }));
  process.stdout.write(`${JSON.stringify(answer ?? null)}\n`);
}
