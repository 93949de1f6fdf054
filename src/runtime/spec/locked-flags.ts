import { listMounts } from '../../kernel/mount.ts';

/** Kernel: a mount that a user namespace takes over keeps these (mount_namespaces(7), "locked"). */
const locked = ['ro', 'nodev', 'noexec', 'nosuid', 'noatime', 'relatime', 'nodiratime'];

/** Flags of the mount that holds a path, which a bind mount made inside a user namespace must repeat or be refused. */
export function lockedMountFlags(path: string): string[] {
  const holds = (mountPoint: string) => mountPoint === '/' || path === mountPoint || path.startsWith(`${mountPoint}/`);
  // Of two at one place the later one is on top.
  const holder = listMounts()
    .filter(({ mountPoint }) => holds(mountPoint))
    .reduce<ReturnType<typeof listMounts>[number] | undefined>(
      (best, mount) => (best === undefined || mount.mountPoint.length >= best.mountPoint.length ? mount : best),
      undefined,
    );
  return (holder?.options ?? []).filter((option) => locked.includes(option));
}
