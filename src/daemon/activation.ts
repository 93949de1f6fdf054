import { readFileSync, readlinkSync } from 'node:fs';

/** A listening socket that was open when the process began. `path` is undefined for one that is not of the unix kind. */
export type InheritedSocket = { fd: number; path: string | undefined };

/** The first descriptor that systemd passes. */
const firstFd = 3;

/**
 * The sockets that systemd (or systemd-socket-activate) listens on for this process: sd_listen_fds(3). Takes the variables away, so that no child
 * takes them for its own. Node has set close-on-exec on the descriptors at its start.
 */
export function inheritedSockets(env: NodeJS.ProcessEnv): InheritedSocket[] {
  const { LISTEN_PID: pid, LISTEN_FDS: fds } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  const count = Number(fds);
  if (Number(pid) !== process.pid || !Number.isInteger(count) || count < 1) return [];
  const unix = unixPaths();
  return Array.from({ length: count }, (_, at) => ({ fd: firstFd + at, path: unix.get(inodeOf(firstFd + at)) }));
}

function inodeOf(fd: number): string {
  return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1] ?? '';
}

/** Columns of /proc/net/unix: number, references, protocol, flags, type, state, inode, path. */
function unixPaths(): Map<string, string> {
  const lines = readFileSync('/proc/net/unix', 'utf8').split('\n').slice(1);
  return new Map(
    lines.map((line): [string, string] => {
      const [, , , , , , inode = '', ...path] = line.split(/\s+/);
      return [inode, path.join(' ')];
    }),
  );
}
