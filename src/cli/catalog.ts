import type { Command } from './command.ts';
import type { ProgramName } from './commands/programs.ts';

/**
 * Every command by the words that name it. Modules are loaded when their command runs: in the bundle, loading is running the module's top level, and
 * `run` should run no other's.
 */
export type Entry =
  | { kind: 'command'; load: () => Promise<Command>; aliasOf?: string | undefined }
  | { kind: 'group'; summary: string; entries: Readonly<Record<string, Entry>> }
  /** A program of the engine's that reads its own flags. */
  | { kind: 'program'; summary: string; program: ProgramName };

const command = (load: () => Promise<Command>): Entry => ({ kind: 'command', load });
/** Another word for the same command, not listed in the help. */
const alias = (entry: Entry | undefined, of: string): Entry => ({ ...(entry as Entry & { kind: 'command' }), aliasOf: of });

const container: Record<string, Entry> = {
  attach: command(async () => (await import('./commands/start.ts')).attach),
  commit: command(async () => (await import('./commands/commit.ts')).commit),
  cp: command(async () => (await import('./commands/cp.ts')).cp),
  create: command(async () => (await import('./commands/run.ts')).create),
  diff: command(async () => (await import('./commands/diff.ts')).diff),
  exec: command(async () => (await import('./commands/exec.ts')).exec),
  export: command(async () => (await import('./commands/archives.ts')).exportContainer),
  kill: command(async () => (await import('./commands/lifecycle.ts')).kill),
  logs: command(async () => (await import('./commands/logs.ts')).logs),
  pause: command(async () => (await import('./commands/lifecycle.ts')).pause),
  port: command(async () => (await import('./commands/lifecycle.ts')).port),
  rename: command(async () => (await import('./commands/lifecycle.ts')).rename),
  restart: command(async () => (await import('./commands/lifecycle.ts')).restart),
  rm: command(async () => (await import('./commands/lifecycle.ts')).rm),
  run: command(async () => (await import('./commands/run.ts')).run),
  start: command(async () => (await import('./commands/start.ts')).start),
  stats: command(async () => (await import('./commands/stats.ts')).stats),
  stop: command(async () => (await import('./commands/lifecycle.ts')).stop),
  top: command(async () => (await import('./commands/top.ts')).top),
  unpause: command(async () => (await import('./commands/lifecycle.ts')).unpause),
  update: command(async () => (await import('./commands/update.ts')).update),
  wait: command(async () => (await import('./commands/lifecycle.ts')).wait),
};
const ps = command(async () => (await import('./commands/ps.ts')).ps);

const image: Record<string, Entry> = {
  build: command(async () => (await import('./commands/build.ts')).build),
  history: command(async () => (await import('./commands/images.ts')).history),
  import: command(async () => (await import('./commands/archives.ts')).importImage),
  load: command(async () => (await import('./commands/archives.ts')).load),
  pull: command(async () => (await import('./commands/transfer.ts')).pull),
  push: command(async () => (await import('./commands/transfer.ts')).push),
  save: command(async () => (await import('./commands/archives.ts')).save),
  tag: command(async () => (await import('./commands/images.ts')).tag),
};
const images = command(async () => (await import('./commands/images.ts')).images);
const rmi = command(async () => (await import('./commands/images.ts')).rmi);

const networkList = command(async () => (await import('./commands/networks.ts')).networkList);
const networkRemove = command(async () => (await import('./commands/networks.ts')).networkRemove);
const volumeList = command(async () => (await import('./commands/volumes.ts')).volumeList);
const volumeRemove = command(async () => (await import('./commands/volumes.ts')).volumeRemove);
const events = command(async () => (await import('./commands/events.ts')).events);
const info = command(async () => (await import('./commands/system.ts')).info);

export const catalog: Readonly<Record<string, Entry>> = {
  ...container,
  ...image,
  copy: command(async () => (await import('./commands/transfer.ts')).copy),
  search: command(async () => (await import('./commands/transfer.ts')).search),
  tags: command(async () => (await import('./commands/transfer.ts')).tags),
  bootstrap: command(async () => (await import('./commands/bootstrap.ts')).bootstrap),
  df: command(async () => (await import('./commands/system.ts')).df),
  events,
  images,
  info,
  inspect: command(async () => (await import('./commands/inspect.ts')).inspect),
  login: command(async () => (await import('./commands/login.ts')).login),
  logout: command(async () => (await import('./commands/login.ts')).logout),
  ps,
  rmi,
  version: command(async () => (await import('./commands/system.ts')).version),
  daemon: { kind: 'program', summary: 'Run the engine', program: 'daemon' },
  demo: { kind: 'program', summary: 'Show the whole way on a real application', program: 'demo' },
  doctor: { kind: 'program', summary: 'Show what this host offers and what it lacks', program: 'doctor' },
  container: {
    kind: 'group',
    summary: 'Commands about containers',
    entries: {
      ...container,
      inspect: command(async () => (await import('./commands/inspect.ts')).containerInspect),
      ls: ps,
      list: alias(ps, 'ls'),
      ps: alias(ps, 'ls'),
      prune: command(async () => (await import('./commands/prune.ts')).containerPrune),
      remove: alias(container.rm, 'rm'),
    },
  },
  image: {
    kind: 'group',
    summary: 'Commands about images',
    entries: {
      ...image,
      inspect: command(async () => (await import('./commands/inspect.ts')).imageInspect),
      ls: images,
      list: alias(images, 'ls'),
      prune: command(async () => (await import('./commands/prune.ts')).imagePrune),
      rm: rmi,
      remove: alias(rmi, 'rm'),
    },
  },
  network: {
    kind: 'group',
    summary: 'Commands about networks',
    entries: {
      connect: command(async () => (await import('./commands/networks.ts')).networkConnect),
      create: command(async () => (await import('./commands/networks.ts')).networkCreate),
      disconnect: command(async () => (await import('./commands/networks.ts')).networkDisconnect),
      inspect: command(async () => (await import('./commands/inspect.ts')).networkInspect),
      ls: networkList,
      list: alias(networkList, 'ls'),
      prune: command(async () => (await import('./commands/prune.ts')).networkPrune),
      rm: networkRemove,
      remove: alias(networkRemove, 'rm'),
    },
  },
  volume: {
    kind: 'group',
    summary: 'Commands about volumes',
    entries: {
      create: command(async () => (await import('./commands/volumes.ts')).volumeCreate),
      inspect: command(async () => (await import('./commands/inspect.ts')).volumeInspect),
      ls: volumeList,
      list: alias(volumeList, 'ls'),
      prune: command(async () => (await import('./commands/prune.ts')).volumePrune),
      rm: volumeRemove,
      remove: alias(volumeRemove, 'rm'),
    },
  },
  gc: {
    kind: 'group',
    summary: 'Commands about garbage collection',
    entries: {
      history: command(async () => (await import('./commands/gc.ts')).gcHistory),
      plan: command(async () => (await import('./commands/gc.ts')).gcPlan),
      run: command(async () => (await import('./commands/gc.ts')).gcRun),
    },
  },
  system: {
    kind: 'group',
    summary: 'Commands about the engine',
    entries: {
      df: command(async () => (await import('./commands/system-df.ts')).systemDf),
      'dial-stdio': command(async () => (await import('./commands/dial-stdio.ts')).dialStdio),
      events,
      info,
      prune: command(async () => (await import('./commands/prune.ts')).systemPrune),
    },
  },
};

/** How the help arranges the commands. A test checks that each is in one place. */
export const sections: readonly (readonly [title: string, names: readonly string[]])[] = [
  ['Slipway', ['demo', 'daemon', 'doctor', 'bootstrap', 'df']],
  ['Images', ['build', 'images', 'tag', 'rmi', 'history', 'save', 'load', 'import', 'diff']],
  ['Registries', ['pull', 'push', 'tags', 'copy', 'search', 'login', 'logout']],
  ['Containers', ['run', 'create', 'start', 'stop', 'restart', 'kill', 'pause', 'unpause', 'update', 'rename', 'rm', 'wait']],
  ['Inside containers', ['exec', 'attach', 'logs', 'top', 'stats', 'cp', 'port', 'commit', 'export']],
  ['Engine', ['ps', 'inspect', 'events', 'info', 'version']],
  ['Groups', ['container', 'image', 'network', 'volume', 'gc', 'system']],
];
