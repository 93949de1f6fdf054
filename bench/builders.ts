import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { BenchDocker } from './docker.ts';
import { BenchEngine } from './engine.ts';
import { BenchPodman } from './podman.ts';

const run = promisify(execFile);
const fetched = fileURLToPath(new URL('../.clients/', import.meta.url));
const fetchedBuildx = join(fetched, 'buildx-0/docker-buildx');

/** An engine that has built nothing yet, with the image `busybox:bench`, and a client that builds with it. */
export type Builder = AsyncDisposable & {
  build(folder: string, ...words: string[]): Promise<unknown>;
  /** What its memory is: these processes and all that they start. */
  processes(): number[];
};

/** `peer`: whose rows this one's are compared with. `aims`: whether its times are held against the project's. */
export type BuilderKind = { name: string; open(): Promise<Builder>; peer?: string; ours: boolean; aims: boolean };

/** Ours by our command line and by Docker's with buildx; Docker with the BuildKit that it has inside; Podman. */
export function builderKinds(options: { docker: boolean; podman: boolean }): BuilderKind[] {
  const peer = options.docker ? { peer: 'docker' } : {};
  return [
    { name: 'slipway', open: openSlipway, ours: true, aims: true, ...peer },
    ...(existsSync(fetchedBuildx) ? [{ name: 'slipway by docker buildx', open: openBuildx, ours: true, aims: false, ...peer }] : []),
    ...(options.docker ? [{ name: 'docker', open: openDocker, ours: false, aims: false }] : []),
    ...(options.podman && BenchPodman.installed ? [{ name: 'podman', open: openPodman, ours: false, aims: false, ...peer }] : []),
  ];
}

async function openSlipway(): Promise<Builder> {
  const engine = await BenchEngine.start();
  await engine.importBusybox();
  return {
    build: (folder, ...words) => engine.cli('build', '-q', '-t', 'bench', ...words, folder),
    processes: () => [engine.pid],
    [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose](),
  };
}

/** The newest docker command line here, with the plugin that the tests fetch. */
export async function buildxVersion(): Promise<string> {
  if (!existsSync(fetchedBuildx)) return 'not found';
  const { stdout } = await run(fetchedBuildx, ['version']);
  return stdout.trim();
}

async function openBuildx(): Promise<Builder> {
  const engine = await BenchEngine.start();
  await engine.importBusybox();
  const config = join(engine.directory, 'docker-config');
  mkdirSync(join(config, 'cli-plugins'), { recursive: true });
  symlinkSync(fetchedBuildx, join(config, 'cli-plugins/docker-buildx'));
  const own = join(fetched, 'docker-26/docker');
  const client = ['/usr/local/bin/docker', own].find(existsSync) ?? 'docker';
  const env = { ...process.env, DOCKER_HOST: `unix://${engine.socket}`, DOCKER_CONFIG: config, DOCKER_BUILDKIT: '1' };
  return {
    build: (folder, ...words) => run(client, ['buildx', 'build', '-q', '-t', 'bench', ...words, folder], { env, maxBuffer: 64 << 20 }),
    processes: () => [engine.pid],
    [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose](),
  };
}

async function openDocker(): Promise<Builder> {
  const docker = await BenchDocker.start();
  await withBusybox((archive) => docker.cli('load', '-i', archive));
  return {
    build: (folder, ...words) => docker.cli('build', '-q', '-t', 'bench', ...words, folder),
    processes: () => docker.processes().daemons,
    [Symbol.asyncDispose]: () => docker[Symbol.asyncDispose](),
  };
}

async function openPodman(): Promise<Builder> {
  const podman = new BenchPodman();
  await withBusybox((archive) => podman.cli('load', '-i', archive));
  // Its steps may be given more than this process's limits allow, and its own bridge would meet the others' rules.
  const here = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000', '--network', 'host'];
  return {
    build: (folder, ...words) => podman.cli('build', '-q', ...here, '-t', 'bench', ...words, folder),
    processes: () => podman.processes(),
    [Symbol.asyncDispose]: () => podman[Symbol.asyncDispose](),
  };
}

/** The same image for all of them. */
async function withBusybox(use: (archive: string) => Promise<unknown>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-bench-image-'));
  try {
    await using engine = await BenchEngine.start();
    await engine.cli('save', '-o', join(folder, 'image.tar'), await engine.importBusybox());
    await use(join(folder, 'image.tar'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
