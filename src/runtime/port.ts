import type { ContainerConfig, CreateContainerRequest, HostConfig, UpdateRequest } from '../api-types/container.ts';
import type { Timeline } from '../base/timeline.ts';
import type { Endpoint, EndpointConfig, PortBinding } from '../network/port.ts';
import type { Digest } from '../oci/digest.ts';
import type { IdMap } from '../snapshot/port.ts';
import type { TreeId } from '../store/model.ts';

export type ContainerState =
  /** `exitCode` and `error` say why a start failed. */
  | { status: 'created'; exitCode?: number; error?: string }
  | { status: 'running'; pid: number; startedAtMs: number; paused: boolean; restarting?: false }
  | { status: 'restarting'; exitCode: number; finishedAtMs: number; startedAtMs: number }
  | { status: 'exited'; exitCode: number; startedAtMs: number; finishedAtMs: number; oomKilled: boolean; error?: string | undefined }
  | { status: 'removing' }
  | { status: 'dead'; error: string };

/** What the health checks of a running container have found. `output` is at most 4,096 bytes. */
export type HealthState = {
  status: 'starting' | 'healthy' | 'unhealthy';
  failingStreak: number;
  log: { startedAtMs: number; endedAtMs: number; exitCode: number; output: string }[];
};

/** One reading of a container's counters, as the kernel has them (cgroup v1 or v2, /proc/PID/net/dev). Absent where the host has none. */
export type StatsSample = {
  readAtMs: number;
  pids: { current: number; limit?: number };
  cpu: {
    usageNs: number;
    userNs: number;
    systemNs: number;
    perCpuNs?: number[];
    throttling: { periods: number; throttledPeriods: number; throttledNs: number };
  };
  /** Time of all processors of the host since boot, and how many are on line. */
  host: { cpuNs: number; onlineCpus: number };
  /** `details` are the lines of memory.stat. `usageBytes` as in memory.current or memory.usage_in_bytes, page cache included. */
  memory: { usageBytes: number; maxUsageBytes?: number; limitBytes: number; failures?: number; details: Record<string, number> };
  blockIo: {
    bytes: { major: number; minor: number; op: string; value: number }[];
    operations: { major: number; minor: number; op: string; value: number }[];
  };
  /** By interface name in the container; empty on the host's network. */
  networks: Record<
    string,
    {
      rxBytes: number;
      rxPackets: number;
      rxErrors: number;
      rxDropped: number;
      txBytes: number;
      txPackets: number;
      txErrors: number;
      txDropped: number;
    }
  >;
};

/** Everything the engine keeps of a container, as in `<root>/containers/<id>/container.json`. */
export type ContainerRecord = {
  id: string; // 64 hex
  name: string; // without Docker's leading slash
  createdAtMs: number;
  image: { id: Digest; reference: string; tree: TreeId };
  /** Merged with the image's config. */
  config: ContainerConfig;
  hostConfig: HostConfig;
  /** argv after entrypoint and command are joined. */
  args: string[];
  mounts: {
    type: 'bind' | 'volume' | 'tmpfs' | 'image';
    name?: string;
    source: string;
    destination: string;
    readOnly: boolean;
    propagation?: string;
    /** Volume driver, and the folder in the volume that is mounted. */
    driver?: string;
    subpath?: string;
  }[];
  networks: EndpointConfig[];
  endpoints: Endpoint[];
  ports: PortBinding[];
  state: ContainerState;
  restartCount: number;
  /** While it runs, when it has a health check. */
  health?: HealthState;
  /** Set when a person or client stopped it, so that `unless-stopped` and `always` know. */
  stoppedByUser: boolean;
  snapshotter: string;
  /** Set when it has a user namespace of its own. */
  idMap?: IdMap;
  /** Paths in the root (relative) that are there only for the engine to mount over: left out when the upper is captured. */
  stubs?: string[];
};

export type ExecRecord = {
  id: string;
  containerId: string;
  args: string[];
  tty: boolean;
  openStdin: boolean;
  attachStdout: boolean;
  attachStderr: boolean;
  user?: string;
  env: string[];
  workingDir?: string;
  privileged: boolean;
  detachKeys?: string;
  state: { status: 'created' } | { status: 'running'; pid: number } | { status: 'exited'; exitCode: number };
};

/** A live connection to a container's or an exec's stdio. `output` yields frames until the process ends; `stdin` ends with `end()`. */
export interface Attachment {
  output(): AsyncIterable<{ stream: 'stdout' | 'stderr'; data: Buffer }>;
  write(data: Uint8Array): Promise<void>;
  endStdin(): Promise<void>;
  /** `detached`: by keys that were typed, and not because the client went away. Idempotent. */
  close(options?: { detached?: boolean }): void;
}

export type WaitCondition = 'not-running' | 'next-exit' | 'removed';

/**
 * Something that happened to a container, told at once and synchronously through the `onEvent` option of the implementation's constructor, whoever
 * caused it (a request, the process itself, a restart policy, adoption). Actions are Docker's; `attributes` are added to name, image and labels
 * (`exitCode` for die, `signal` for kill, `execID` and `exitCode` for exec_*, `status` for health_status).
 */
export type ContainerEvent = {
  action:
    | 'create'
    | 'start'
    | 'die'
    | 'oom'
    | 'stop'
    | 'kill'
    | 'restart'
    | 'pause'
    | 'unpause'
    | 'rename'
    | 'update'
    | 'health_status'
    | 'exec_detach'
    | 'destroy'
    | 'resize'
    | 'attach'
    | 'detach'
    | 'exec_create'
    | 'exec_start'
    | 'exec_die';
  record: ContainerRecord;
  attributes?: Record<string, string>;
};

/** What a container sees besides its root. Mounts at their host paths, ready, none of them in the root; none while it runs: its process has them. */
export type RootView = {
  mounts: ContainerRecord['mounts'];
  /** Who its processes are when nothing else is asked for, by its own /etc/passwd. InvalidArgument `USER_NOT_FOUND`. */
  user(): { uid: number; gid: number };
};

/** The life of containers. Every method takes a name, an id or an unambiguous id prefix; NotFound `CONTAINER_NOT_FOUND`. */
export interface Containers {
  create(request: CreateContainerRequest, options: { name?: string }): Promise<{ record: ContainerRecord; warnings: string[] }>;
  /** NotModified when it runs already. Errors of the command itself have exitCode 126 or 127. */
  start(name: string, options?: { timeline?: Timeline | undefined }): Promise<void>;
  /** Signal, then SIGKILL after the time-out (seconds; -1 waits for ever). NotModified when it does not run. */
  stop(name: string, options?: { timeoutSeconds?: number; signal?: string }): Promise<void>;
  kill(name: string, signal?: string): Promise<void>;
  restart(name: string, options?: { timeoutSeconds?: number; signal?: string }): Promise<void>;
  pause(name: string): Promise<void>;
  unpause(name: string): Promise<void>;
  rename(name: string, to: string): Promise<void>;
  /** Changes limits and restart policy, of a running container at once. Answers warnings. */
  update(name: string, request: UpdateRequest): Promise<string[]>;
  /** One reading; of a container that does not run, undefined. */
  stats(name: string): Promise<StatsSample | undefined>;
  /** Joins a network, live when it runs. Conflict when it is on it or has another's or the host's network. */
  connectNetwork(name: string, endpoint: EndpointConfig): Promise<void>;
  disconnectNetwork(name: string, network: string, options?: { force?: boolean }): Promise<void>;
  remove(name: string, options?: { force?: boolean; volumes?: boolean }): Promise<void>;
  get(name: string): Promise<ContainerRecord>;
  list(): Promise<ContainerRecord[]>;
  wait(name: string, condition?: WaitCondition, signal?: AbortSignal): Promise<{ exitCode: number; error?: string }>;
  /** Attaches to stdio. `logs` replays the spool first. Output is the spool's tail; stdin goes through the monitor's socket. */
  attach(name: string, options: { stdin: boolean; stdout: boolean; stderr: boolean; logs: boolean; stream: boolean }): Promise<Attachment>;
  resize(name: string, size: { rows: number; columns: number }): Promise<void>;
  execCreate(name: string, exec: Omit<ExecRecord, 'id' | 'containerId' | 'state'>): Promise<ExecRecord>;
  execStart(id: string, options: { detach: boolean; size?: { rows: number; columns: number } }): Promise<Attachment | undefined>;
  execResize(id: string, size: { rows: number; columns: number }): Promise<void>;
  execGet(id: string): Promise<ExecRecord>;
  /** Ids of the container's execs that are remembered. */
  execs(name: string): Promise<string[]>;
  top(name: string, psArgs?: string): Promise<{ Titles: string[]; Processes: string[][] }>;
  /** Host path of the container's root file system, mounted for the callback's time, and what is to be seen over it. */
  withRootfs<T>(name: string, use: (rootfs: string, view: RootView) => Promise<T>): Promise<T>;
  /** After a daemon start: adopts what runs, records what ended, cleans leftovers, applies restart policies. */
  recover(): Promise<void>;
  close(): Promise<void>;
}

/** What a step's control group and its processes are held to. Sizes in bytes; what is not given is not limited, but for `pids`. */
export type StepLimits = {
  readonly memoryBytes?: number | undefined;
  /** Memory and swap together; -1 for any. */
  readonly memorySwapBytes?: number | undefined;
  readonly cpus?: number | undefined;
  readonly cpuShares?: number | undefined;
  readonly cpuset?: string | undefined;
  readonly memoryNodes?: string | undefined;
  /** 8,192 when not given; 0 or less for no limit. */
  readonly pids?: number | undefined;
  readonly shmBytes?: number | undefined;
  readonly ulimits?: readonly { readonly name: string; readonly soft: number; readonly hard: number }[] | undefined;
};

/** A process in a root file system of its own. */
export type StepProgram = {
  rootfs: string;
  args: readonly string[];
  env: readonly string[];
  user: string;
  workingDir: string;
  limits?: StepLimits | undefined;
};

/** A program that runs beside a step, in its network name space, and ends with it. Both find it under `name` in /etc/hosts. */
export type StepService = StepProgram & {
  name: string;
  /** Run inside until it ends with 0; then the step begins. */
  ready?: { readonly args: readonly string[]; readonly timeoutMs: number } | undefined;
};

/** One step of a build: a process in a snapshot, its output streamed. Exit code as Docker's. */
export type StepRequest = StepProgram & {
  network: 'default' | 'none' | 'host';
  mounts: { source: string; destination: string; readOnly: boolean }[];
  stopSignal?: string;
  /** Lines of /etc/hosts; the address may be `host-gateway`. */
  hosts?: readonly { readonly name: string; readonly address: string }[] | undefined;
  /** Names (`registry.npmjs.org`, `*.debian.org`) and addresses that the network leads to, and no others. */
  allowedHosts?: readonly string[] | undefined;
  /** Have the result tell what went over the network. */
  recordTraffic?: boolean | undefined;
  services?: readonly StepService[] | undefined;
  /** All rights of root on the host (`RUN --security=insecure`). */
  insecure?: boolean | undefined;
  /** CDI devices: `vendor.example/class=name`. Those that the host lacks are left out, unless they are required. */
  devices?: readonly { readonly name: string; readonly required: boolean }[] | undefined;
  /** Called when the step ended with another code than 0, with all that it had in place until the promise settles. */
  onFailure?: ((failed: FailedStep) => Promise<void>) | undefined;
  onOutput(stream: 'stdout' | 'stderr', data: Buffer): void;
  signal?: AbortSignal;
};

export type FailedStep = {
  exitCode: number;
  /** Starts a program where the step ran: its root as it left it, mounts, environment, user, directory and network. NotFound or Denied (exit codes 127, 126) when there is no such program. */
  open(options: StepShellOptions): Promise<StepShell>;
};
export type StepShellOptions = {
  args: readonly string[];
  tty: boolean;
  stdin: boolean;
  size?: { rows: number; columns: number } | undefined;
};
export interface StepShell {
  readonly attachment: Attachment;
  readonly ended: Promise<number>;
  resize(size: { rows: number; columns: number }): void;
  kill(): void;
}

/** `host` '' and `address` '': what went to addresses that no name had led to. Bytes of IP packets. */
export type StepTraffic = { host: string; address: string; bytesIn: number; bytesOut: number };

export type StepResult = {
  exitCode: number;
  /** Paths (relative) that the runner leaves as mount stubs in the root. */
  stubs: string[];
  /** How many of its processes the kernel killed at the limit of its memory. */
  memoryKills?: number | undefined;
  traffic?: StepTraffic[] | undefined;
  /** Names that it asked for and that are not among `allowedHosts`. */
  refusedHosts?: string[] | undefined;
};

export interface StepRunner {
  run(step: StepRequest): Promise<StepResult>;
}
