import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import type { ContainerConfig, CreateContainerRequest, HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import { Container } from '../container.ts';
import type { EngineContext } from '../context.ts';
import type { ContainerRecord } from '../port.ts';
import { withVolume } from '../volume-mounts.ts';
import { checkConfig, mergeConfig } from './config.ts';
import { copyUp } from './copy-up.ts';
import { checkHost, checkHostNow } from './host.ts';
import { chooseIdMap } from './id-map.ts';
import { type MountRequest, mountRequests } from './mounts.ts';
import { endpointConfigs } from './network-mode.ts';
import { checkNetworking } from './networking.ts';
import { portBindings } from './ports.ts';
import { mountsFrom, type ResolvedMounts, resolveMounts } from './resolve-mounts.ts';

/** Makes a container that can be started. Whatever fails, nothing of it stays. */
export async function createContainer(
  context: EngineContext,
  request: CreateContainerRequest,
  wantedName: string | undefined,
): Promise<{ container: Container; warnings: string[] }> {
  const { registry } = context;
  // A request that cannot be is refused before its image is looked for: a client that hears "no such image" pulls it.
  const find = (name: string) => findOther(context, name);
  const { hostConfig, warnings } = checkHost(request.HostConfig ?? {}, { context, find });
  const idMap = chooseIdMap(hostConfig, context.facts.settings.idMap, find);
  warnings.push(...checkNetworking(request, hostConfig, find));
  mountRequests({}, hostConfig);
  await checkHostNow(hostConfig, context);
  checkConfig(request, hostConfig);

  const image = await context.store.images.resolve(request.Image ?? '');
  const id = randomBytes(32).toString('hex');
  const { config, args } = mergeConfig(request, image.config.config ?? {}, id);
  checkConfig(config, hostConfig);

  const name = await registry.claimName(wantedName, id);
  let resolved: ResolvedMounts | undefined;
  try {
    const { requests, inherited } = planMounts(config, hostConfig, find);
    const record: ContainerRecord = {
      id,
      name,
      createdAtMs: context.now(),
      image: { id: image.id, reference: request.Image ?? image.id, tree: image.tree },
      config,
      hostConfig,
      args,
      mounts: [],
      networks: endpointConfigs({ ...request, HostConfig: hostConfig }),
      endpoints: [],
      ports: portBindings(hostConfig, config.ExposedPorts),
      state: { status: 'created' },
      restartCount: 0,
      stoppedByUser: false,
      snapshotter: context.snapshotter.name,
      ...(idMap ? { idMap } : {}),
    };
    const container = new Container(record);
    await announce(context, container, requests);
    resolved = await resolveMounts(requests, context, idMap);
    record.mounts = [...resolved.mounts, ...inherited];
    await layDown(context, container, resolved.copyUp);
    registry.add(container);
    return { container, warnings };
  } catch (error) {
    await undo(context, id, resolved?.made ?? []);
    registry.releaseName(name, id);
    throw error;
  }
}

/** InvalidArgument, and not NotFound, which clients take for the image's. */
function findOther(context: EngineContext, name: string): ContainerRecord {
  try {
    return context.registry.find(name).record;
  } catch (error) {
    if (!(error instanceof EngineError && error.kind === 'NotFound')) throw error;
    throw new EngineError('InvalidArgument', error.code, error.message, { hint: error.hint, cause: error });
  }
}

/** Mounts of `--volumes-from` give way to those that are named, and the image's volumes give way to both. */
function planMounts(config: ContainerConfig, host: HostConfig, find: (name: string) => ContainerRecord) {
  const requests = mountRequests(config, host);
  const named = new Set(mountRequests({}, host).map(({ destination }) => destination));
  const others = (host.VolumesFrom ?? []).flatMap((text) => mountsFrom(text, find)).filter(({ destination }) => !named.has(destination));
  // Of several that bring the same place, the last one counts.
  const inherited = [...new Map(others.map((mount) => [mount.destination, mount])).values()];
  const taken = new Set(inherited.map(({ destination }) => destination));
  return { requests: requests.filter(({ destination }) => !taken.has(destination)).map(withName), inherited };
}

function withName(request: MountRequest): MountRequest {
  if (request.type !== 'volume' || request.name !== undefined) return request;
  return { ...request, name: randomBytes(32).toString('hex'), anonymous: true };
}

/** Before anything is made. Anonymous volumes have names by now, so that a later engine can take them away again. */
async function announce(context: EngineContext, container: Container, requests: readonly MountRequest[]): Promise<void> {
  const volumes = requests.flatMap((request) => (request.type === 'volume' && request.anonymous && request.name ? [request.name] : []));
  container.intent = { action: 'create', atMs: context.now(), volumes };
  await context.registry.prepareFolder(container.id);
  if (volumes.length > 0) await context.registry.save(container);
}

/** Record with its intent, snapshot, volumes' content, record without: in this order, so that a crash leaves what can be told apart. */
async function layDown(context: EngineContext, container: Container, fills: ResolvedMounts['copyUp']): Promise<void> {
  const { record } = container;
  const [, snapshot] = await Promise.all([
    context.registry.save(container),
    context.snapshotter.create(container.id, record.image.tree, {
      disposable: record.hostConfig.AutoRemove ?? false,
      ...(record.idMap ? { idMap: record.idMap } : {}),
    }),
  ]);
  for (const { destination, name } of fills) {
    await withVolume(context, name, { id: container.id, purpose: 'copy-up' }, (path) => copyUp(snapshot.rootfs, destination, path));
  }
  container.intent = record.hostConfig.AutoRemove ? { action: 'run', atMs: context.now() } : undefined;
  await context.registry.save(container);
}

async function undo(context: EngineContext, id: string, volumes: readonly string[]): Promise<void> {
  await context.snapshotter.remove(id).catch((error) => context.report(id, error));
  await rm(context.paths.container(id), { recursive: true, force: true });
  for (const name of volumes) await context.volumes.remove(name, { force: true }).catch((error) => context.report(id, error));
}
