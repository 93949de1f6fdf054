import { readFileSync } from 'node:fs';
import { arch, cpus, hostname, release, totalmem } from 'node:os';
import type { FastifyInstance } from 'fastify';
import { apiVersion, type DiskUsageResponse, type InfoResponse, minApiVersion, type VersionResponse } from '../../api-types/system.ts';
import { summarizeContainer } from '../encode/container.ts';
import { summarizeImage } from '../encode/image.ts';
import { encodeVolume } from '../encode/network.ts';
import { unsupported } from '../errors.ts';
import type { Services } from '../services.ts';

/** Go's names for the machine, as Docker's clients expect them. */
const goArch: Record<string, string> = { x64: 'amd64', arm64: 'arm64', arm: 'arm', riscv64: 'riscv64', s390x: 's390x', ppc64: 'ppc64le' };
const unameArch: Record<string, string> = { x64: 'x86_64', arm64: 'aarch64' };

/** `_ping`, version, info, system/df, auth. */
export function systemRoutes(app: FastifyInstance, services: Services): void {
  app.route({
    method: ['GET', 'HEAD'],
    url: '/_ping',
    handler: (_request, reply) => {
      // 1: the classic builder. Clients that would use BuildKit's session fall back to POST /build.
      reply.header('Builder-Version', '1').header('Swarm', 'inactive');
      reply.header('Cache-Control', 'no-cache, no-store, must-revalidate').header('Pragma', 'no-cache');
      return reply.type('text/plain; charset=utf-8').send('OK');
    },
  });
  app.get('/version', () => versionOf(services));
  app.get('/info', () => infoOf(services));
  app.get('/system/df', () => diskUsage(services));
  app.post('/auth', () => {
    throw unsupported(
      'REGISTRY_UNSUPPORTED',
      'this daemon does not speak to registries yet',
      'Use "slipway load" or "slipway import" for images.',
    );
  });
}

function versionOf({ info }: Services): VersionResponse {
  const details = {
    ApiVersion: apiVersion,
    MinAPIVersion: minApiVersion,
    Arch: goArch[arch()] ?? arch(),
    BuildTime: '',
    Experimental: 'false',
    GitCommit: info.gitCommit,
    GoVersion: process.version,
    KernelVersion: release(),
    Os: 'linux',
  };
  return {
    Platform: { Name: 'Slipway' },
    Components: [{ Name: 'Engine', Version: info.version, Details: details }],
    Version: info.version,
    ApiVersion: apiVersion,
    MinAPIVersion: minApiVersion,
    GitCommit: info.gitCommit,
    GoVersion: process.version,
    Os: 'linux',
    Arch: details.Arch,
    KernelVersion: release(),
    BuildTime: '',
  };
}

async function infoOf(services: Services): Promise<InfoResponse> {
  const { info } = services;
  const [containers, images] = await Promise.all([services.containers.list(), services.store.images.list()]);
  const running = containers.filter(({ state }) => state.status === 'running');
  const paused = running.filter(({ state }) => state.status === 'running' && state.paused);
  const os = osRelease();
  return {
    ID: info.id,
    Containers: containers.length,
    ContainersRunning: running.length - paused.length,
    ContainersPaused: paused.length,
    ContainersStopped: containers.length - running.length,
    Images: images.length,
    Driver: info.snapshotter,
    DriverStatus: [['Root', info.root]],
    Plugins: { Volume: ['local'], Network: ['bridge', 'host', 'null'], Authorization: null, Log: ['json-file'] },
    MemoryLimit: true,
    SwapLimit: true,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: true,
    IPv4Forwarding: true,
    Debug: false,
    NFd: -1,
    OomKillDisable: info.cgroupVersion === '1',
    NGoroutines: -1,
    SystemTime: new Date().toISOString(),
    LoggingDriver: 'json-file',
    CgroupDriver: 'cgroupfs',
    CgroupVersion: info.cgroupVersion,
    NEventsListener: services.events.listeners,
    KernelVersion: release(),
    OperatingSystem: os.name,
    OSVersion: os.version,
    OSType: 'linux',
    Architecture: unameArch[arch()] ?? arch(),
    IndexServerAddress: 'https://index.docker.io/v1/',
    RegistryConfig: { InsecureRegistryCIDRs: [], IndexConfigs: {}, Mirrors: [] },
    NCPU: cpus().length,
    MemTotal: totalmem(),
    DockerRootDir: info.root,
    HttpProxy: '',
    HttpsProxy: '',
    NoProxy: '',
    Name: hostname(),
    Labels: [],
    ExperimentalBuild: false,
    ServerVersion: info.version,
    Runtimes: info.runtimes,
    DefaultRuntime: info.defaultRuntime,
    Swarm: { NodeID: '', NodeAddr: '', LocalNodeState: 'inactive', ControlAvailable: false, Error: '', RemoteManagers: null },
    LiveRestoreEnabled: true,
    Isolation: '',
    InitBinary: 'catatonit',
    ContainerdCommit: { ID: '', Expected: '' },
    RuncCommit: { ID: '', Expected: '' },
    InitCommit: { ID: '', Expected: '' },
    SecurityOptions: ['name=seccomp,profile=builtin'],
    Warnings: null,
  };
}

function osRelease(): { name: string; version: string } {
  try {
    const text = readFileSync('/etc/os-release', 'utf8');
    const field = (key: string) => new RegExp(`^${key}="?([^"\\n]*)"?$`, 'm').exec(text)?.[1] ?? '';
    return { name: field('PRETTY_NAME') || 'Linux', version: field('VERSION_ID') };
  } catch {
    return { name: 'Linux', version: '' };
  }
}

async function diskUsage(services: Services): Promise<DiskUsageResponse> {
  const [containers, images, volumes, usage] = await Promise.all([
    services.containers.list(),
    services.store.images.list(),
    services.volumes.list(),
    services.diskUsage(),
  ]);
  const now = Date.now();
  const usersOf = (id: string) => containers.filter((container) => container.image.id === id).length;
  const mountersOf = (name: string) => containers.filter(({ mounts }) => mounts.some((mount) => mount.name === name)).length;
  return {
    LayersSize: usage.rows.find(({ kind }) => kind === 'objects')?.bytes ?? 0,
    Images: images.map((listing) => summarizeImage(listing, usersOf(listing.record.id))),
    Containers: containers.map((record) => summarizeContainer(record, now)),
    Volumes: volumes.map((volume) => encodeVolume(volume, { Size: -1, RefCount: mountersOf(volume.name) })),
    BuildCache: [],
  };
}
