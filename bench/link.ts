import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { inNamespace } from './namespace.ts';
import type { Relay, WireCount } from './relay.ts';

const run = promisify(execFile);
const relayProgram = fileURLToPath(new URL('relay.ts', import.meta.url));

/**
 * Two network namespaces of their own with a wire between them: 100 Mbit/s each way (tc tbf), and a round trip of 20 ms, made by tc netem where the kernel has it and
 * else by the relay through which clients reach the registry.
 */
export class Link implements AsyncDisposable {
  readonly nearEnd: number;
  readonly farEnd: number;
  readonly farAddress = '10.231.7.2';
  readonly madeBy: 'netem' | 'relay';
  readonly #holders: readonly ChildProcess[];

  private constructor(holders: readonly [ChildProcess, ChildProcess], madeBy: 'netem' | 'relay') {
    this.#holders = holders;
    this.nearEnd = pidOf(holders[0]);
    this.farEnd = pidOf(holders[1]);
    this.madeBy = madeBy;
  }

  static readonly megabits = 100;
  static readonly roundTripMs = 20;

  static async open(): Promise<Link> {
    const holders = [await holdNamespace(), await holdNamespace()] as const;
    try {
      const [near, far] = [pidOf(holders[0]), pidOf(holders[1])];
      const on = (pid: number, ...words: string[]) => {
        const [command = '', ...rest] = inNamespace(pid, ...words);
        return run(command, rest);
      };
      await on(near, 'ip', 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far', 'netns', String(far));
      let madeBy: 'netem' | 'relay' = 'netem';
      for (const [pid, device, address] of [
        [near, 'near', '10.231.7.1/24'],
        [far, 'far', '10.231.7.2/24'],
      ] as const) {
        await on(pid, 'ip', 'link', 'set', 'lo', 'up');
        await on(pid, 'ip', 'address', 'add', address, 'dev', device);
        await on(pid, 'ip', 'link', 'set', device, 'up');
        // Segments of offloaded TCP are larger than the bucket.
        const rate = ['rate', `${Link.megabits}mbit`, 'burst', '128kb', 'latency', '100ms'];
        await on(pid, 'tc', 'qdisc', 'add', 'dev', device, 'root', 'handle', '1:', 'tbf', ...rate);
        const delay = ['netem', 'delay', `${Link.roundTripMs / 2}ms`, 'limit', '10000'];
        await on(pid, 'tc', 'qdisc', 'add', 'dev', device, 'parent', '1:', ...delay).catch(() => {
          madeBy = 'relay';
        });
      }
      return new Link(holders, madeBy);
    } catch (error) {
      for (const holder of holders) holder.kill('SIGKILL');
      throw error;
    }
  }

  /** On the near side's loopback, so that no client needs to be told of a registry without TLS. */
  async startRelay(targetPort: number): Promise<Relay> {
    const port = 5000;
    const delayMs = this.madeBy === 'relay' ? Link.roundTripMs / 2 : 0;
    const words = [process.execPath, relayProgram, String(port), this.farAddress, String(targetPort), String(delayMs)];
    const [command = '', ...rest] = inNamespace(this.nearEnd, ...words);
    const child = spawn(command, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const read = async () => JSON.parse((await lines.next()).value ?? '{}') as WireCount;
    await read();
    return {
      port,
      async count() {
        child.stdin.write('\n');
        return await read();
      },
      async [Symbol.asyncDispose]() {
        child.kill('SIGKILL');
        await once(child, 'exit');
      },
    };
  }

  async farAnswers(port: number): Promise<boolean> {
    const [command = '', ...rest] = inNamespace(this.farEnd, 'curl', '-sf', `http://${this.farAddress}:${port}/v2/`);
    return await run(command, rest).then(
      () => true,
      () => false,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const holder of this.#holders) {
      holder.kill('SIGKILL');
      if (holder.exitCode === null && holder.signalCode === null) await once(holder, 'exit');
    }
  }
}

async function holdNamespace(): Promise<ChildProcess> {
  // Its input ends with this process, however that ends.
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo ready; exec cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
  await once(holder.stdout, 'data');
  return holder;
}

function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error('unshare did not start');
  return child.pid;
}
