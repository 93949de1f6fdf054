import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import type { CreateContainerRequest } from '../../api-types/container.ts';
import { Container } from '../container.ts';
import type { EngineContext } from '../context.ts';
import type { ContainerRecord } from '../port.ts';
import { parseSignal } from '../signals.ts';
import { capabilities } from '../spec/capabilities.ts';
import { parseExtraHost } from '../spec/etc-files.ts';
import { checkUlimits, rlimits } from '../spec/limits.ts';
import { parseSecurityOptions, seccompFor } from '../spec/security.ts';
import { checkConfig, mergeConfig } from './config.ts';
import { copyUp } from './copy-up.ts';
import { mountRequests, mountsFrom, type ResolvedMounts, resolveMounts } from './mounts.ts';
import { endpointConfigs, networkMode, portBindings } from './network-mode.ts';

/** Makes a container that can be started. Whatever fails, nothing of it stays. */
export async function createContainer(
  context: EngineContext,
  request: CreateContainerRequest,
  wantedName: string | undefined,
): Promise<{ container: Container; warnings: string[] }> {
  const { registry } = context;
  const image = await context.store.images.resolve(request.Image ?? '');
  const id = randomBytes(32).toString('hex');
  const { config, args } = mergeConfig(request, image.config.config ?? {}, id);
  const hostConfig = request.HostConfig ?? {};
  checkConfig(config, hostConfig, [...context.runtimes.all.keys()]);
  const warnings = checkDetails(context, request);
  const requests = mountRequests(config, hostConfig);
  const inherited = (hostConfig.VolumesFrom ?? []).flatMap((text) => mountsFrom(text, (other) => registry.find(other).record));

  const name = await registry.claimName(wantedName, id);
  let resolved: ResolvedMounts | undefined;
  try {
    const named = new Set(
      (hostConfig.Binds ?? []).length + (hostConfig.Mounts ?? []).length > 0 ? requests.map(({ destination }) => destination) : [],
    );
    const fromOthers = inherited.filter(({ destination }) => !named.has(destination));
    const taken = new Set(fromOthers.map(({ destination }) => destination));
    resolved = await resolveMounts(
      requests.filter(({ destination }) => !taken.has(destination)),
      context.volumes,
    );
    const record: ContainerRecord = {
      id,
      name,
      createdAtMs: context.now(),
      image: { id: image.id, reference: request.Image ?? image.id, tree: image.tree },
      config,
      hostConfig,
      args,
      mounts: [...resolved.mounts, ...fromOthers],
      networks: endpointConfigs(request).map(({ name: network, aliases, ipv4 }) => ({
        name: network,
        aliases: aliases ?? [],
        ...(ipv4 ? { ipv4 } : {}),
      })),
      endpoints: [],
      ports: portBindings(hostConfig, config.ExposedPorts),
      state: { status: 'created' },
      restartCount: 0,
      stoppedByUser: false,
      snapshotter: context.snapshotter.name,
    };
    const container = new Container(record);
    await layDown(context, container, resolved.copyUp);
    registry.add(container);
    return { container, warnings };
  } catch (error) {
    await undo(context, id, resolved?.made ?? []);
    registry.releaseName(name, id);
    throw error;
  }
}

/** Record with its intent, snapshot, volumes' content, record without: in this order, so that a crash leaves what can be told apart. */
async function layDown(context: EngineContext, container: Container, fills: ResolvedMounts['copyUp']): Promise<void> {
  container.intent = { action: 'create', atMs: context.now() };
  await context.registry.prepareFolder(container.id);
  const [, snapshot] = await Promise.all([
    context.registry.save(container),
    context.snapshotter.create(container.id, container.record.image.tree, { disposable: container.record.hostConfig.AutoRemove ?? false }),
  ]);
  for (const { destination, source } of fills) await copyUp(snapshot.rootfs, destination, source);
  container.intent = undefined;
  await context.registry.save(container);
}

async function undo(context: EngineContext, id: string, volumes: readonly string[]): Promise<void> {
  await context.snapshotter.remove(id).catch((error) => context.report(id, error));
  await rm(context.paths.container(id), { recursive: true, force: true });
  for (const name of volumes) await context.volumes.remove(name, { force: true }).catch((error) => context.report(id, error));
}

/** What would fail at start only, said now. Answers warnings. */
function checkDetails(context: EngineContext, request: CreateContainerRequest): string[] {
  const host = request.HostConfig ?? {};
  if (request.StopSignal) parseSignal(request.StopSignal);
  for (const entry of host.ExtraHosts ?? []) parseExtraHost(entry);
  checkUlimits(host.Ulimits);
  const granted = capabilities(
    { privileged: host.Privileged ?? false, add: host.CapAdd ?? null, drop: host.CapDrop ?? null },
    context.facts.capabilities,
  );
  seccompFor(parseSecurityOptions(host.SecurityOpt ?? []).seccomp, host.Privileged, granted.granted);
  const mode = networkMode(host);
  if (mode.kind === 'container') context.registry.find(mode.container);
  const limits = rlimits(host.Ulimits, context.facts.hardLimits, context.facts.capabilities.includes('CAP_SYS_RESOURCE'));
  return [
    ...(mode.kind === 'host' && Object.keys(host.PortBindings ?? {}).length > 0
      ? ['Published ports are discarded when using host network mode']
      : []),
    ...granted.missing.map((name) => `capability ${name} cannot be added: the engine itself does not hold it on this host`),
    ...limits.warnings,
    ...(host.Memory && !context.facts.swapAccounting
      ? ['Your kernel does not support swap limit capabilities. Memory limited without swap.']
      : []),
  ];
}
