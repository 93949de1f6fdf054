import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EngineError } from '../../src/base/errors.ts';
import { crunPrefix } from '../../src/host/crun.ts';
import { closeQuietly } from '../../src/kernel/files.ts';
import { isMountPoint, mount, unmountIfMounted } from '../../src/kernel/mount.ts';
import { bindTcp } from '../../src/kernel/socket.ts';
import { SpoolReader } from '../../src/logging/spool-reader.ts';
import { SpoolRotator } from '../../src/logging/spool-rotator.ts';
import type { Endpoint, NetworkInfo, Networks, PortBinding, PortReservation } from '../../src/network/port.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { RunConfig } from '../../src/oci/image.ts';
import { Cgroups } from '../../src/runtime/cgroups.ts';
import { ConmonMonitor } from '../../src/runtime/drivers/conmon.ts';
import { OciRuntime } from '../../src/runtime/drivers/oci-runtime.ts';
import { ContainerEngine } from '../../src/runtime/engine.ts';
import type { Attachment, ContainerEvent } from '../../src/runtime/port.ts';
import type { RuntimeSettings } from '../../src/runtime/spec/facts.ts';
import type { IdMap, Snapshot, Snapshotter } from '../../src/snapshot/port.ts';
import type { TreeId } from '../../src/store/model.ts';
import type { ImageRecord, Store } from '../../src/store/port.ts';
import { LocalVolumeDriver } from '../../src/volumes/drivers/local.ts';
import { VolumeService } from '../../src/volumes/service.ts';

const busybox = '/usr/bin/busybox';
const runc = '/usr/sbin/runc';
const conmon = '/usr/bin/conmon';
const catatonit = ['/usr/libexec/podman/catatonit', '/usr/bin/catatonit'].find((path) => existsSync(path));

/** `SLIPWAY_TEST_RUNTIME=crun` runs the same tests on the other one. */
export const defaultRuntime = process.env.SLIPWAY_TEST_RUNTIME ?? 'runc';

function testRuntime(run: string): OciRuntime {
  const root = join(run, defaultRuntime);
  if (defaultRuntime === 'runc') return new OciRuntime({ name: 'runc', command: runc, root });
  return new OciRuntime({ name: 'crun', command: '/usr/bin/crun', root, prefix: crunPrefix() });
}

/** Why these tests cannot run here; false when they can. */
export const cannotRun: string | false =
  process.getuid?.() !== 0
    ? 'needs root'
    : ([busybox, runc, conmon].find((path) => !existsSync(path)) ?? false) &&
      `needs ${[busybox, runc, conmon].filter((path) => !existsSync(path)).join(', ')}`;

const applets =
  'sh true false cat echo printf sleep ls seq head id env pwd hostname kill stty mount grep touch chmod wc dd test readlink stat rm mkdir ps mkfifo tr date'.split(
    ' ',
  );

/** A directory tree with a static busybox, as a root file system. */
export function makeBusyboxRoot(directory: string): void {
  for (const name of ['bin', 'etc', 'tmp', 'root', 'data', 'home/app']) mkdirSync(join(directory, name), { recursive: true });
  copyFileSync(busybox, join(directory, 'bin/busybox'));
  for (const name of applets) symlinkSync('busybox', join(directory, 'bin', name));
  writeFileSync(join(directory, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235:an app:/home/app:/bin/sh\n');
  writeFileSync(join(directory, 'etc/group'), 'root:x:0:\nappgroup:x:1235:\nextra:x:77:app\nother:x:88:\n');
  writeFileSync(join(directory, 'data/seed'), 'from the image\n');
  writeFileSync(join(directory, 'etc/not-executable'), 'x\n', { mode: 0o644 });
}

/** Snapshots as plain overlays over one directory: the least that keeps a snapshotter's promises. */
export class DirectorySnapshotter implements Snapshotter {
  readonly name = 'directory';
  readonly #lower: string;
  readonly #state: string;
  readonly #mounts: string;

  constructor(options: { lower: string; state: string; mounts: string }) {
    this.#lower = options.lower;
    this.#state = options.state;
    this.#mounts = options.mounts;
  }

  async project(): Promise<void> {}

  async usedTrees(): Promise<{ tree: TreeId; by: string }[]> {
    return [];
  }

  async projections(): Promise<{ tree: TreeId; bytes: number; lastUsedAtMs: number }[]> {
    return [];
  }

  async discardProjection(): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {}

  async create(id: string, _: TreeId, options: Parameters<Snapshotter['create']>[2] = {}): Promise<Snapshot> {
    if (existsSync(join(this.#state, id))) throw new EngineError('Conflict', 'SNAPSHOT_EXISTS', id);
    for (const name of ['upper', 'work']) mkdirSync(join(this.#state, id, name), { recursive: true });
    if (options.idMap) this.#copyFor(id, options.idMap);
    return this.mount(id);
  }

  /** A copy of its own that belongs to the user namespace's root. */
  #copyFor(id: string, { uids, gids }: IdMap): void {
    const lower = join(this.#state, id, 'lower');
    execFileSync('cp', ['-a', this.#lower, lower]);
    execFileSync('chown', ['-hR', `${uids[0]?.outside}:${gids[0]?.outside}`, lower, join(this.#state, id, 'upper')]);
  }

  async mount(id: string): Promise<Snapshot> {
    const rootfs = join(this.#mounts, id);
    mkdirSync(rootfs, { recursive: true });
    const at = (name: string) => join(this.#state, id, name);
    if (!isMountPoint(rootfs))
      mount({
        source: 'overlay',
        target: rootfs,
        type: 'overlay',
        data: `lowerdir=${existsSync(at('lower')) ? at('lower') : this.#lower},upperdir=${at('upper')},workdir=${at('work')}`,
      });
    return { id, tree: 'tree' as TreeId, rootfs };
  }

  async unmount(id: string): Promise<void> {
    unmountIfMounted(join(this.#mounts, id));
    rmSync(join(this.#mounts, id), { recursive: true, force: true });
  }

  async remove(id: string): Promise<void> {
    await this.unmount(id);
    rmSync(join(this.#state, id), { recursive: true, force: true });
  }

  async capture(): Promise<never> {
    throw new Error('not part of this test');
  }

  async changes(): Promise<never> {
    throw new Error('not part of this test');
  }

  async view(): Promise<never> {
    throw new Error('not part of this test');
  }

  async endViews(): Promise<void> {}

  async viewUsers(): Promise<string[]> {
    return [];
  }

  async list(): Promise<string[]> {
    return existsSync(this.#state) ? readdirSync(this.#state) : [];
  }

  upper(id: string): string {
    return join(this.#state, id, 'upper');
  }
}

/** Reserves ports for real, and makes no networks: tests here use `host` and `none`. */
export class PortsOnly implements Networks {
  async reserve(bindings: readonly PortBinding[]): Promise<PortReservation> {
    const sockets: { fd: number; port: number }[] = [];
    const release = () => {
      for (const { fd } of sockets.splice(0)) closeQuietly(fd);
    };
    try {
      for (const { hostPort } of bindings) sockets.push(bindTcp({ ip: '127.0.0.1', port: hostPort }));
    } catch (error) {
      release();
      throw new EngineError('Conflict', 'PORT_IN_USE', 'port in use', { cause: error });
    }
    return {
      bindings: bindings.map((binding, index) => ({ ...binding, hostPort: sockets[index]?.port ?? 0 })),
      fds: sockets.map(({ fd }) => fd),
      release,
      [Symbol.asyncDispose]: async () => release(),
    };
  }
  async attach(): Promise<{ netns: string; endpoints: [] }> {
    throw new EngineError('Unavailable', 'NO_NETWORK', 'these tests have no networks');
  }
  async openNamespace(): Promise<string> {
    throw new EngineError('Unavailable', 'NO_NETWORK', 'these tests have no networks');
  }
  async connect(): Promise<Endpoint> {
    throw new EngineError('Unavailable', 'NO_NETWORK', 'these tests have no networks');
  }
  async disconnect(): Promise<void> {}
  async rename(): Promise<void> {}
  async reload(): Promise<void> {}
  async detach(): Promise<void> {}
  async attached(): Promise<string[]> {
    return [];
  }
  async endpoints(): Promise<[]> {
    return [];
  }
  async create(): Promise<NetworkInfo> {
    throw new Error('no networks');
  }
  async get(): Promise<NetworkInfo> {
    throw new Error('no networks');
  }
  async list(): Promise<NetworkInfo[]> {
    return [];
  }
  async remove(): Promise<void> {}
}

function fakeStore(config: RunConfig): Pick<Store, 'images' | 'uses'> {
  const record = {
    id: `sha256:${'1'.repeat(64)}` as Digest,
    tree: '2'.repeat(64) as TreeId,
    config: { architecture: 'amd64', os: 'linux', config },
  } as ImageRecord;
  const resolve = async (name: string) => {
    if (name !== 'busybox') throw new EngineError('NotFound', 'IMAGE_NOT_FOUND', `No such image: ${name}`);
    return record;
  };
  return { images: { resolve }, uses: { touch: async () => undefined, last: async () => undefined } } as unknown as Pick<
    Store,
    'images' | 'uses'
  >;
}

export type Harness = {
  directory: string;
  engine: ContainerEngine;
  logs: SpoolReader;
  rotator: SpoolRotator;
  snapshotter: DirectorySnapshotter;
  volumes: VolumeService;
  events: string[];
  errors: unknown[];
  rootId: string;
};

export type HarnessOptions = {
  settings?: Partial<RuntimeSettings>;
  networks?: Networks;
  /** Beside the default one. */
  runtimes?: OciRuntime[];
  createTimeoutMs?: number;
};

/** An engine over `directory` (with a busybox root in it). `recover` is the caller's to call. */
export function openEngine(directory: string, config: RunConfig = {}, options: HarnessOptions = {}): Harness {
  const [root, run] = [join(directory, 'root'), join(directory, 'run')];
  mkdirSync(root, { recursive: true });
  mkdirSync(join(run, 'runc'), { recursive: true });
  const rootId = createHash('sha256').update(root).digest('hex').slice(0, 8);
  const events: string[] = [];
  const errors: unknown[] = [];
  const snapshotter = new DirectorySnapshotter({
    lower: join(directory, 'lower'),
    state: join(root, 'snapshots'),
    mounts: join(run, 'snap'),
  });
  const logs = new SpoolReader({ directory: (id) => join(root, 'containers', id, 'log'), ended: (id) => engine.ended(id) });
  const volumePaths = { directory: join(root, 'volumes'), runDirectory: join(run, 'volumes') };
  const volumes = new VolumeService({
    ...volumePaths,
    drivers: [new LocalVolumeDriver(volumePaths)],
    usedBy: (name) => engine.volumeUsers(name),
  });
  const engine: ContainerEngine = new ContainerEngine({
    store: fakeStore(config),
    snapshotter,
    networks: options.networks ?? new PortsOnly(),
    settings: options.settings,
    volumes,
    logs,
    runtimes: {
      default: defaultRuntime,
      all: new Map([testRuntime(run), ...(options.runtimes ?? [])].map((runtime) => [runtime.name, runtime])),
    },
    monitor: new ConmonMonitor({ command: conmon, createTimeoutMs: options.createTimeoutMs }),
    paths: { root, run },
    rootId,
    initPath: catatonit,
    onEvent: ({ action, attributes }: ContainerEvent) => {
      const detail = attributes?.exitCode ?? attributes?.status;
      events.push(detail ? `${action}=${detail}` : action);
    },
    onError: (_, error) => errors.push(error),
  });
  const rotator = new SpoolRotator({ live: () => engine.spools() });
  return { directory, engine, logs, rotator, snapshotter, volumes, events, errors, rootId };
}

export async function makeHarness(config: RunConfig = {}, options: HarnessOptions = {}): Promise<Harness> {
  const directory = mkdtempSync(join(tmpdir(), 'slipway-runtime-'));
  makeBusyboxRoot(join(directory, 'lower'));
  const harness = openEngine(directory, config, options);
  await harness.engine.recover();
  return harness;
}

/** Ends and removes everything, whatever state it is in. */
export async function closeHarness({ engine, directory, rootId }: Harness): Promise<void> {
  for (const { id } of await engine.list())
    await engine.remove(id, { force: true, volumes: true }).catch((error) => process.stderr.write(`${String(error)}\n`));
  await engine.close();
  const mounts = join(directory, 'run/snap');
  if (existsSync(mounts)) for (const id of readdirSync(mounts)) unmountIfMounted(join(mounts, id));
  await new Cgroups().remove(`/slipway-${rootId}`);
  rmSync(directory, { recursive: true, force: true });
}

export async function collect(attachment: Attachment): Promise<{ stdout: string; stderr: string }> {
  const text = { stdout: '', stderr: '' };
  for await (const { stream, data } of attachment.output()) text[stream] += data.toString();
  return text;
}

/** `docker run` in the foreground: its output and exit code. */
export async function run(
  { engine }: Harness,
  command: string[],
  request: Parameters<ContainerEngine['create']>[0] = {},
): Promise<{ stdout: string; stderr: string; exitCode: number; id: string }> {
  const { record } = await engine.create({
    ...request,
    Image: 'busybox',
    Cmd: command,
    HostConfig: { NetworkMode: 'host', ...request.HostConfig },
  });
  const attachment = await engine.attach(record.id, { stdin: false, stdout: true, stderr: true, logs: false, stream: true });
  const exit = engine.wait(record.id, 'next-exit');
  await engine.start(record.id);
  const output = await collect(attachment);
  return { ...output, exitCode: (await exit).exitCode, id: record.id };
}

type CreateRequest = Parameters<ContainerEngine['create']>[0];

/** `docker run -d`, without a network: its id. */
export async function startIn({ engine }: Harness, command: string[], request: CreateRequest = {}): Promise<string> {
  const { record } = await engine.create({
    ...request,
    Image: 'busybox',
    Cmd: command,
    HostConfig: { NetworkMode: 'none', ...request.HostConfig },
  });
  await engine.start(record.id);
  return record.id;
}

/** As `startIn`, for a script that says `ready` when it is: its traps are set, or what it starts has started. */
export async function startReady(harness: Harness, script: string, request: CreateRequest = {}): Promise<string> {
  const id = await startIn(harness, ['sh', '-c', script], request);
  await eventually(async () => (await readyTimes(harness, id)) > 0, 'it says that it is ready');
  return id;
}

/** How often a container has said `ready` so far. */
export async function readyTimes({ logs }: Harness, id: string): Promise<number> {
  let times = 0;
  for await (const { line } of logs.read(id, {})) if (line.toString() === 'ready') times++;
  return times;
}

type Exec = Parameters<ContainerEngine['execCreate']>[1];

export function execOf(args: string[], more: Partial<Exec> = {}): Exec {
  return { args, tty: false, openStdin: false, attachStdout: true, attachStderr: true, env: [], privileged: false, ...more };
}

/** `docker exec`, with `input` on its standard input: what it wrote and its exit code. */
export async function execIn({ engine }: Harness, id: string, args: string[], more: Partial<Exec> & { input?: Buffer } = {}) {
  const { input, ...exec } = more;
  const { id: execId } = await engine.execCreate(id, execOf(args, { ...exec, openStdin: input !== undefined }));
  const attachment = await engine.execStart(execId, { detach: false });
  if (attachment === undefined) throw new Error('it was not detached');
  const feeding = input && feed(attachment, input);
  const blocks: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
  for await (const { stream, data } of attachment.output()) blocks[stream].push(data);
  await feeding;
  const { state } = await engine.execGet(execId);
  const [stdout, stderr] = [Buffer.concat(blocks.stdout), Buffer.concat(blocks.stderr)];
  return {
    stdout: stdout.toString(),
    stderr: stderr.toString(),
    bytes: stdout,
    exitCode: state.status === 'exited' ? state.exitCode : undefined,
  };
}

async function feed(attachment: Attachment, input: Buffer): Promise<void> {
  for (let at = 0; at < input.length; at += 65_536) await attachment.write(input.subarray(at, at + 65_536));
  await attachment.endStdin();
}

/** Looks until it is so; fails after `timeoutMs`. */
export async function eventually(look: () => boolean | Promise<boolean>, what: string, timeoutMs = 30_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await look())) {
    if (Date.now() > deadline) throw new Error(`it did not come about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
