import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { EngineError, toErrorData } from '../base/errors.ts';
import { DemoEngine } from './engine.ts';
import { DemoRegistry } from './registry.ts';
import { Report } from './report.ts';

const usage = `Usage: slipway demo [--keep] [--root DIR] [--run DIR]

Shows the whole way on a real application: a Debian base, a build, a push to a registry, a pull on the next host, a container, a request; then
a changed line, the next build, push, pull and container. It runs two engines and a registry of its own and stops them at the end; what it
built stays under --root, so that the next demo is quick.

  --keep      leave the engines and the application running, and say how to reach and to stop them
  --root DIR  where it keeps its images (default /var/lib/slipway-demo)
  --run DIR   where its sockets and mounts are (default /run/slipway-demo)
`;

const baseImage = 'debian-node:bookworm';

type Options = { keep: boolean; root: string; run: string };

function parseOptions(argv: readonly string[]): Options | undefined {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      keep: { type: 'boolean', default: false },
      root: { type: 'string', default: '/var/lib/slipway-demo' },
      run: { type: 'string', default: '/run/slipway-demo' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return undefined;
  return { keep: values.keep, root: values.root, run: values.run };
}

function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new EngineError('Denied', 'ROOT_NEEDED', 'the demo runs containers and needs root: it mounts file systems and makes namespaces', {
    hint: 'Run: sudo ./slipway demo',
  });
}

/** A port that is free now on loopback. */
async function freePort(): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const server = createServer();
  server.once('error', reject);
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    server.close(() => resolve(port));
  });
  return await promise;
}

/** The application's reply, asked for until it answers or `deadlineMs` have passed. */
async function request(url: string, init: RequestInit = {}, deadlineMs = 10_000): Promise<string> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    try {
      const response = await fetch(url, { ...init, signal: AbortSignal.timeout(2_000) });
      const text = await response.text();
      if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text}`);
      return text.trim();
    } catch (error) {
      if (performance.now() > end)
        throw new EngineError('Unavailable', 'NO_ANSWER', `${url} did not answer within ${deadlineMs / 1000} s`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** Where examples/ is, whether this runs from src/demo or from dist/. */
function exampleDirectory(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  return join(here, here.endsWith('demo') ? '../..' : '..', 'examples/guestbook');
}

/** A copy of the example that the demo may change; the same path each time, so that the second demo finds the first one's cache. */
async function copyExample(source: string): Promise<void> {
  await rm(source, { recursive: true, force: true });
  await mkdir(dirname(source), { recursive: true });
  await cp(exampleDirectory(), source, { recursive: true, filter: (path) => !path.includes('node_modules'), preserveTimestamps: true });
}

async function changeOneLine(source: string): Promise<{ before: string; after: string }> {
  const file = join(source, 'server.js');
  const text = await readFile(file, 'utf8');
  const before = "const greeting = 'Welcome';";
  const after = "const greeting = 'Welcome back';";
  if (!text.includes(before)) throw new EngineError('Internal', 'EXAMPLE_CHANGED', `${file} has no line "${before}"`);
  await writeFile(file, text.replace(before, after));
  return { before, after };
}

type Hosts = { builder: DemoEngine; next: DemoEngine; registry: DemoRegistry };

async function play(options: Options, { builder, next, registry }: Hosts, report: Report): Promise<void> {
  const source = join(options.root, 'guestbook');
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;

  await copyExample(source);
  await report.step('Start an engine', () => builder.start());
  await builder.removeLeftovers();
  await report.step('Make a base image from Debian packages', () =>
    builder.cli(['bootstrap', 'debian', 'bookworm', '--include', 'nodejs,npm,ca-certificates', '--host-certificates', '-t', baseImage], {
      show: 'tail',
    }),
  );
  await report.step('Start a registry, and the engine of the next host', async () => {
    report.line(`a registry, Debian's docker-registry, answers at ${await registry.start()}`);
    await next.start({ fresh: true });
  });
  const image = `${registry.address}/guestbook:latest`;
  const run = ['run', '-d', '--name', 'guestbook', '-p', `127.0.0.1:${port}:8080`, '-v', 'guestbook-data:/data', image];
  const deliver = async (again: string) => {
    await report.step(`Build the application${again}`, () => builder.build(['build', '-t', image, source], report));
    await report.step(`Push it${again}`, () => counted(registry, report, 'sent', () => builder.cli(['push', image])));
    await report.step(`Pull it on the next host${again}`, () => counted(registry, report, 'received', () => next.cli(['pull', image])));
  };

  await deliver('');
  await report.step('Run it there', () => next.cli(run));
  await report.step('Post an entry over HTTP, read it back', () => postAnEntry(url, report));
  await report.step('Its logs', () => next.cli(['logs', 'guestbook']));
  await report.step('Change one line of source', async () => {
    const { before, after } = await changeOneLine(source);
    report.line(`- ${before}`);
    report.line(`+ ${after}`);
  });
  await deliver(' again');
  await report.step('Replace the container', async () => {
    await next.cli(['rm', '-f', 'guestbook']);
    await next.cli(run);
  });
  await report.step('The new reply, and the old entry', () => readBoth(url, report));
  await report.step('What is on disk', () => next.cli(['df']));

  if (options.keep) {
    report.note(
      `The application runs at ${url}; the engine that runs it at unix://${next.socket}, the one that built it at unix://${builder.socket}.`,
    );
    report.note(`  Look around:  SLIPWAY_HOST=unix://${next.socket} ${next.launcher} ps`);
    report.note(`  Stop it:      SLIPWAY_HOST=unix://${next.socket} ${next.launcher} rm -f guestbook; kill ${next.pid} ${builder.pid}`);
  } else {
    await report.step('Stop everything', async () => {
      await next.stop();
      await builder.stop();
      await registry.stop();
    });
  }
}

/** Says what a step has moved between host and registry. */
async function counted(
  registry: DemoRegistry,
  report: Report,
  direction: 'sent' | 'received',
  work: () => Promise<unknown>,
): Promise<void> {
  const before = registry[direction];
  await work();
  const bytes = registry[direction] - before;
  report.remark(`${direction} ${bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`}`);
}

async function postAnEntry(url: string, report: Report): Promise<void> {
  report.line(`GET  /greeting  ${await request(`${url}/greeting`)}`);
  const body = JSON.stringify({ name: 'Ada', message: 'Hello from the first version' });
  const init = { method: 'POST', body, headers: { 'content-type': 'application/json' } };
  report.line(`POST /entries   ${await request(`${url}/entries`, init)}`);
  report.line(`GET  /entries   ${await request(`${url}/entries`)}`);
}

async function readBoth(url: string, report: Report): Promise<void> {
  const greeting = await request(`${url}/greeting`);
  const entries = await request(`${url}/entries`);
  report.line(`GET  /greeting  ${greeting}`);
  report.line(`GET  /entries   ${entries}`);
  if (greeting !== 'Welcome back' || !entries.includes('Hello from the first version')) {
    throw new EngineError('Internal', 'DEMO_WRONG_REPLY', 'the redeployed application did not give the new greeting and the old entry');
  }
}

/** `slipway demo`. Resolves to the exit status; never throws. */
export async function main(argv: readonly string[]): Promise<number> {
  const report = new Report(process.stdout);
  let hosts: Hosts | undefined;
  let interrupted = false;
  const onSignal = () => {
    interrupted = true;
    hosts?.builder.interrupt();
    hosts?.next.interrupt();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    const options = parseOptions(argv);
    if (options === undefined) {
      process.stdout.write(usage);
      return 0;
    }
    requireRoot();
    hosts = {
      builder: new DemoEngine({ name: 'engine', root: options.root, run: options.run }, report),
      next: new DemoEngine({ name: 'next-host', root: options.root, run: `${options.run}-next` }, report),
      registry: new DemoRegistry(join(options.root, 'registry')),
    };
    await play(options, hosts, report);
    report.summary();
    return 0;
  } catch (error) {
    const data = toErrorData(error);
    process.stderr.write(
      interrupted ? '\nInterrupted.\n' : `\nslipway demo: ${data.message}\n${data.hint === undefined ? '' : `${data.hint}\n`}`,
    );
    for (const engine of [hosts?.next, hosts?.builder])
      await engine?.stop().catch((cause: unknown) => process.stderr.write(`slipway demo: stopping the engine: ${String(cause)}\n`));
    return interrupted ? 130 : 1;
  } finally {
    await hosts?.registry.stop();
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}
