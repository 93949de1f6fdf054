import { tmpdir } from 'node:os';
import { EventBus } from '../../src/api/event-bus.ts';
import type { Services } from '../../src/api/services.ts';
import type { CreateContainerRequest } from '../../src/api-types/container.ts';
import { EngineError } from '../../src/base/errors.ts';
import { emptyImageConfig } from '../../src/oci/config.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { Attachment, ContainerRecord, Containers, ExecRecord } from '../../src/runtime/port.ts';
import type { TreeId } from '../../src/store/model.ts';
import type { ImageRecord } from '../../src/store/port.ts';

const hex = (digit: string) => digit.repeat(64);

/** A service of which a test needs only some methods; the others throw when called. */
export function partial<T extends object>(name: string, methods: Partial<T>): T {
  return new Proxy(methods, {
    get(target, key) {
      const method = target[key as keyof T];
      if (method !== undefined || typeof key === 'symbol' || key === 'then') return method;
      return () => {
        throw new EngineError('Internal', 'NOT_FAKED', `${name}.${key} was not expected`);
      };
    },
  }) as T;
}

/** A process that echoes its stdin and, at its end, says "bye" on stderr and exits. */
export class EchoProcess implements Attachment {
  readonly #queue: { stream: 'stdout' | 'stderr'; data: Buffer }[] = [];
  #wake: () => void = () => {};
  #over = false;
  readonly #exited = Promise.withResolvers<void>();
  closed = false;

  get exited(): Promise<void> {
    return this.#exited.promise;
  }

  async *output() {
    for (;;) {
      const next = this.#queue.shift();
      if (next !== undefined) yield next;
      else if (this.#over || this.closed) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  say(stream: 'stdout' | 'stderr', text: string | Buffer): void {
    this.#queue.push({ stream, data: Buffer.from(text) });
    this.#wake();
  }

  end(): void {
    this.#over = true;
    this.#wake();
    this.#exited.resolve();
  }

  async write(data: Uint8Array): Promise<void> {
    this.say('stdout', Buffer.from(data));
  }

  async endStdin(): Promise<void> {
    this.say('stderr', 'bye');
    this.end();
  }

  close(): void {
    this.closed = true;
    this.#wake();
  }
}

export function containerRecord(change: Partial<ContainerRecord> = {}): ContainerRecord {
  return {
    id: hex('c'),
    name: 'web',
    createdAtMs: 1_700_000_000_000,
    image: { id: `sha256:${hex('1')}` as Digest, reference: 'web:1', tree: hex('7') as TreeId },
    config: { Image: 'web:1', OpenStdin: true, Labels: { tier: 'front' }, ExposedPorts: { '80/tcp': {}, '53/udp': {} } },
    hostConfig: { NetworkMode: 'bridge' },
    args: ['cat', '-'],
    mounts: [],
    networks: [{ name: 'bridge', aliases: [] }],
    endpoints: [],
    ports: [],
    state: { status: 'created' },
    restartCount: 0,
    stoppedByUser: false,
    snapshotter: 'fake',
    ...change,
  };
}

/** One container, `web`, whose process is an EchoProcess. `created` keeps what create was asked. */
export class FakeContainers {
  readonly process = new EchoProcess();
  readonly created: { request: CreateContainerRequest; name: string | undefined }[] = [];
  readonly killed: (string | undefined)[] = [];
  readonly sizes: { rows: number; columns: number }[] = [];
  record: ContainerRecord;
  exec: ExecRecord | undefined;
  startError: Error | undefined;

  constructor(record = containerRecord()) {
    this.record = record;
  }

  port(): Containers {
    const find = (name: string) => {
      if (name === this.record.name || this.record.id.startsWith(name)) return this.record;
      throw new EngineError('NotFound', 'CONTAINER_NOT_FOUND', `No such container: ${name}`);
    };
    return partial<Containers>('containers', {
      create: async (request, { name }) => {
        this.created.push({ request, name });
        return { record: this.record, warnings: [] };
      },
      get: async (name) => find(name),
      list: async () => [this.record],
      start: async (name) => {
        if (this.startError !== undefined) throw this.startError;
        if (find(name).state.status === 'running') throw new EngineError('NotModified', 'CONTAINER_RUNNING', 'it runs already');
        this.record = { ...this.record, state: { status: 'running', pid: 7, startedAtMs: Date.now(), paused: false } };
      },
      attach: async () => this.process,
      wait: async () => {
        await this.process.exited;
        return { exitCode: 3 };
      },
      kill: async (_name, signal) => {
        this.killed.push(signal);
        this.process.end();
      },
      resize: async (_name, size) => {
        this.sizes.push(size);
      },
      execCreate: async (name, exec) => {
        this.exec = { ...exec, id: hex('e'), containerId: find(name).id, state: { status: 'created' } };
        return this.exec;
      },
      execs: async () => [],
      execGet: async (id) => {
        if (this.exec?.id === id) return this.exec;
        throw new EngineError('NotFound', 'EXEC_NOT_FOUND', `No such exec instance: ${id}`);
      },
      execStart: async (_id, { detach }) => (detach ? undefined : this.process),
    });
  }
}

export function fakeServices(change: Partial<Services> = {}): Services & { stop(): void } {
  const stopping = new AbortController();
  const services: Services = {
    store: {
      // Whatever a container is made of runs here.
      images: partial<Services['store']['images']>('images', {
        resolve: async () => partial<ImageRecord>('image', { config: emptyImageConfig() }),
      }),
      leases: partial('leases', {}),
      trees: partial('trees', {}),
      uses: partial('uses', {}),
    },
    containers: partial('containers', {}),
    snapshotter: partial<Services['snapshotter']>('snapshotter', { name: 'fake' }),
    jobs: partial('jobs', {}),
    logs: partial('logs', {}),
    builder: partial('builder', {}),
    builds: partial('builds', {}),
    archives: partial('archives', {}),
    registries: partial('registries', {}),
    transfers: partial('transfers', {}),
    searchImages: () => Promise.reject(new EngineError('Internal', 'NOT_FAKED', 'searchImages was not expected')),
    networks: partial('networks', {}),
    volumes: partial('volumes', {}),
    collector: partial('collector', {}),
    events: new EventBus(),
    info: {
      version: '0.0.0-test',
      gitCommit: '',
      id: 'TEST',
      root: '/nowhere',
      snapshotter: 'fake',
      runtimes: { runc: { path: 'runc' } },
      defaultRuntime: 'runc',
      cgroupVersion: '2',
      registries: {},
      cgroupDriver: 'cgroupfs',
      cdiDirs: ['/etc/cdi'],
      seccompProfile: 'builtin',
      usernsRemap: false,
      initPath: undefined,
      authorizationPlugins: [],
      monitorPath: '/nowhere/conmon',
      debug: false,
      startedAtMs: 0,
    },
    containerPaths: (id) => ({
      hosts: `/r/${id}/hosts`,
      hostname: `/r/${id}/hostname`,
      resolvConf: `/r/${id}/resolv.conf`,
      log: `/r/${id}/log`,
    }),
    bootstrap: () => Promise.reject(new Error('not faked')),
    hostReport: async () => ({ version: '0' }),
    diskUsage: async () => ({ rows: [], totalBytes: 0 }),
    writableBytes: async () => 0,
    tmpDir: tmpdir(),
    shutdown: stopping.signal,
    ...change,
  };
  return { ...services, stop: () => stopping.abort() };
}
