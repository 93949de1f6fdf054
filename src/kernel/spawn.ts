import { accessSync, closeSync, constants } from 'node:fs';
import { check, cString, declare, errnoNumbers, lastErrno, pinned, SystemCallError } from './libc.ts';

// Node's spawn forks: it copies the page tables of the whole process and makes both copy pages that they write to. That costs 1 ms and 4 ms more
// for each 100 MB that the daemon holds, on the event loop. posix_spawn(3) shares the memory until exec and takes 0.3 ms whatever the size.

const posixSpawn = declare('int posix_spawn(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t)');
const actionsInit = declare('int posix_spawn_file_actions_init(uintptr_t)');
const actionsDestroy = declare('int posix_spawn_file_actions_destroy(uintptr_t)');
const actionsDup2 = declare('int posix_spawn_file_actions_adddup2(uintptr_t, int, int)');
const actionsOpen = declare('int posix_spawn_file_actions_addopen(uintptr_t, int, uintptr_t, int, uint)');
const actionsChdir = declare('int posix_spawn_file_actions_addchdir_np(uintptr_t, uintptr_t)');
/** glibc 2.34; before it, what was inherited without close-on-exec when the daemon started is inherited on. */
const actionsCloseFrom = declareIfThere('int posix_spawn_file_actions_addclosefrom_np(uintptr_t, int)');
const attributesInit = declare('int posix_spawnattr_init(uintptr_t)');
const attributesFlags = declare('int posix_spawnattr_setflags(uintptr_t, int16_t)');
const attributesDefault = declare('int posix_spawnattr_setsigdefault(uintptr_t, uintptr_t)');
const libcSigfillset = declare('int sigfillset(uintptr_t)');
const libcWaitpid = declare('int waitpid(int, uintptr_t, int)');
const libcFcntl = declare('int fcntl(int, int, int)');

const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSID = 0x80;
const F_DUPFD_CLOEXEC = 1030;
const O_RDWR = 2;

function declareIfThere(definition: string): ReturnType<typeof declare> | undefined {
  try {
    return declare(definition);
  } catch {
    return undefined;
  }
}

export type SpawnOptions = {
  /** The whole environment. */
  env: Readonly<Record<string, string | undefined>>;
  cwd?: string | undefined;
  /** What becomes descriptor 0, 1, 2, …: one of this process (which keeps its own), or /dev/null. Nothing else is inherited. */
  stdio: readonly (number | 'ignore')[];
  /** A session of its own: its number then is that of its process group, and a terminal's Ctrl-C does not reach it. */
  newSession?: boolean | undefined;
};

/** `signal` is set when one ended it. */
export type ProcessEnd = { exitCode: number; signal?: undefined } | { exitCode?: undefined; signal: number };
export type SpawnedProcess = { readonly pid: number; readonly ended: Promise<ProcessEnd> };

// Larger than glibc's posix_spawn_file_actions_t (80), posix_spawnattr_t (336) and sigset_t (128).
const actions = pinned(512);
const attributes = pinned(512);
const signals = pinned(128);
const pidResult = pinned(8);
const statusResult = pinned(8);

/**
 * Starts a program: `file` with a slash is a path, without one it is searched on the PATH of `env`. It gets default signal handling. Throws the
 * system's error (ENOENT, EACCES, E2BIG, EAGAIN) when it cannot be run. Only on the main thread: the end is learnt from SIGCHLD.
 */
export function spawnProcess(file: string, args: readonly string[], options: SpawnOptions): SpawnedProcess {
  reaper.listen();
  const duplicates: number[] = [];
  check(actionsInit(actions.address), 'posix_spawn_file_actions_init');
  try {
    addActions(options, duplicates);
    prepareAttributes(options.newSession ?? false);
    const block = packStrings([file, ...args], environment(options.env));
    const path = file.includes('/') ? file : search(file, options.env.PATH ?? '');
    const error = posixSpawn(pidResult.address, cString(path), actions.address, attributes.address, block.argv, block.envp);
    if (error !== 0) throw new SystemCallError('spawn', error, file);
    return reaper.adopt(pidResult.view.getInt32(0, true));
  } finally {
    actionsDestroy(actions.address);
    for (const fd of duplicates) closeSync(fd);
  }
}

function search(name: string, path: string): string {
  for (const directory of path.split(':')) {
    try {
      accessSync(`${directory}/${name}`, constants.X_OK);
      return `${directory}/${name}`;
    } catch {
      // Not in this one.
    }
  }
  throw new SystemCallError('spawn', errnoNumbers.ENOENT ?? 2, name);
}

function addActions({ stdio, cwd }: SpawnOptions, duplicates: number[]): void {
  const must = (result: number) => {
    if (result !== 0) throw new SystemCallError('posix_spawn', result);
  };
  for (const [target, source] of stdio.entries()) {
    if (source === 'ignore') {
      must(actionsOpen(actions.address, target, cString('/dev/null'), O_RDWR, 0));
      continue;
    }
    let from = source;
    // An earlier target with this number would have taken its place.
    if (source < stdio.length && source !== target) {
      from = check(libcFcntl(source, F_DUPFD_CLOEXEC, stdio.length), 'fcntl F_DUPFD_CLOEXEC');
      duplicates.push(from);
    }
    // With equal numbers glibc takes close-on-exec off.
    must(actionsDup2(actions.address, from, target));
  }
  if (actionsCloseFrom !== undefined) must(actionsCloseFrom(actions.address, stdio.length));
  if (cwd !== undefined) must(actionsChdir(actions.address, cString(cwd)));
}

function prepareAttributes(newSession: boolean): void {
  check(attributesInit(attributes.address), 'posix_spawnattr_init');
  // Node ignores SIGPIPE, and what is ignored stays so across exec. The mask is left empty.
  check(libcSigfillset(signals.address), 'sigfillset');
  check(attributesDefault(attributes.address, signals.address), 'posix_spawnattr_setsigdefault');
  const flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | (newSession ? POSIX_SPAWN_SETSID : 0);
  check(attributesFlags(attributes.address, flags), 'posix_spawnattr_setflags');
}

function environment(env: SpawnOptions['env']): string[] {
  return Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
}

let strings = pinned(64 << 10);

/** argv and envp as the C library takes them; good until the next call. */
function packStrings(argv: readonly string[], envp: readonly string[]): { argv: number; envp: number } {
  const all = [...argv, ...envp];
  const pointersBytes = (all.length + 2) * 8;
  const sizeBytes = pointersBytes + all.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
  if (sizeBytes > strings.buffer.length) strings = pinned(sizeBytes * 2);
  const { buffer, view, address } = strings;
  let [pointer, end] = [0, pointersBytes];
  for (const list of [argv, envp]) {
    for (const text of list) {
      if (text.includes('\0')) throw new SystemCallError('spawn', errnoNumbers.EINVAL ?? 22, argv[0], 'an argument contains a zero byte');
      view.setBigUint64(pointer, BigInt(address + end), true);
      end += buffer.utf8Write(text, end);
      buffer[end++] = 0;
      pointer += 8;
    }
    view.setBigUint64(pointer, 0n, true);
    pointer += 8;
  }
  return { argv: address, envp: address + (argv.length + 1) * 8 };
}

/** Waits for the processes started here, and for no others: Node waits for its own. */
const reaper = {
  waiting: new Map<number, (end: ProcessEnd) => void>(),
  listening: false,
  timer: undefined as NodeJS.Timeout | undefined,

  listen(): void {
    if (this.listening) return;
    this.listening = true;
    process.on('SIGCHLD', () => this.reap());
  },

  adopt(pid: number): SpawnedProcess {
    const { promise, resolve } = Promise.withResolvers<ProcessEnd>();
    this.waiting.set(pid, resolve);
    // A listener for a signal does not keep the event loop going; a process that is waited for does.
    this.timer ??= setInterval(() => this.reap(), 1_000);
    return { pid, ended: promise };
  },

  reap(): void {
    const WNOHANG = 1;
    for (const [pid, resolve] of this.waiting) {
      const result = libcWaitpid(pid, statusResult.address, WNOHANG);
      if (result === 0 || (result === -1 && lastErrno() === errnoNumbers.EINTR)) continue;
      this.waiting.delete(pid);
      // Somebody else waited for it: it has ended, and how is not known.
      resolve(result === -1 ? { exitCode: 255 } : decodeStatus(statusResult.view.getInt32(0, true)));
    }
    if (this.waiting.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  },
};

function decodeStatus(status: number): ProcessEnd {
  const signal = status & 0x7f;
  return signal === 0 ? { exitCode: (status >> 8) & 0xff } : { signal };
}
