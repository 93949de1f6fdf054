import { randomBytes } from 'node:crypto';
import type { Container } from './container.ts';
import type { EngineContext } from './context.ts';
import type { RootView } from './port.ts';
import { InRoot } from './spec/in-root.ts';
import { resolveUser } from './spec/user.ts';
import { mountVolumes, unmountVolumes } from './volume-mounts.ts';

/**
 * Gives a container's root, which is mounted, to `use`, with its volumes ready when it does not run. The root stays mounted: the next start finds it so, and an engine's
 * start or a removal takes it away. Two at a time, and a start meanwhile, do not disturb each other.
 */
export async function withContainerRoot<T>(
  context: EngineContext,
  container: Container,
  rootfs: string,
  use: (rootfs: string, view: RootView) => Promise<T>,
): Promise<T> {
  const { record } = container;
  const mounted = record.mounts.filter(({ type }) => type !== 'tmpfs');
  // A user of its own: what it takes down at its end is not what a start has put up meanwhile.
  const reader = { ...record, id: `cp-${randomBytes(16).toString('hex')}`, mounts: mounted };
  const runs = record.state.status === 'running';
  const view = async (): Promise<RootView> => {
    const mounts = runs ? [] : await mountVolumes(context, reader);
    await noteStubs(context, container, rootfs, mounts);
    return { mounts, user: () => userOf(rootfs, mounts, record.config.User) };
  };
  try {
    return await use(rootfs, await view());
  } finally {
    if (!runs) await unmountVolumes(context, reader);
  }
}

/** Mount points that will be made for the view are the engine's doing, not the container's. */
async function noteStubs(context: EngineContext, container: Container, rootfs: string, mounts: RootView['mounts']): Promise<void> {
  if (mounts.length === 0) return;
  const { record } = container;
  const known = record.stubs ?? [];
  using root = new InRoot(rootfs);
  const isBelow = (path: string) => mounts.some(({ destination }) => path.startsWith(`${destination}/`));
  const missing = mounts
    .flatMap(({ destination }) => (isBelow(destination) ? [] : root.missing(destination)))
    .filter((stub) => !known.includes(stub));
  if (missing.length === 0) return;
  await container.exclusive(async () => {
    record.stubs = [...new Set([...(record.stubs ?? []), ...missing])];
    if (!container.removed && record.state.status !== 'removing') await context.registry.save(container);
  });
}

function userOf(rootfs: string, mounts: RootView['mounts'], user: string | undefined): { uid: number; gid: number } {
  using root = new InRoot(rootfs, mounts);
  const { uid, gid } = resolveUser(root, user ?? '');
  return { uid, gid };
}
