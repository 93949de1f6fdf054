import { execFileSync } from 'node:child_process';
import { readFileSync, statfsSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { buildxVersion } from './builders.ts';
import { dockerClient } from './docker.ts';
import { runParent } from './engine.ts';

function firstLine(command: string, args: readonly string[]): string {
  try {
    return (
      execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
        .trim()
        .split('\n')[0] ?? ''
    );
  } catch {
    return 'not found';
  }
}

const fileSystems = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x01021994, 'tmpfs'],
]);

/** What a figure depends on, as text by name. */
export async function describeMachine(docker: string | undefined): Promise<Record<string, string>> {
  const cores = cpus();
  return {
    date: new Date().toISOString(),
    processor: `${cores.length} x ${cores[0]?.model ?? 'unknown'}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: release(),
    // What else runs: figures of a machine that is shared are those of a slower one.
    'load before': loadavg()
      .map((value) => value.toFixed(2))
      .join(' '),
    system: /^PRETTY_NAME="(.*)"/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown',
    'file system': fileSystems.get(statfsSync(tmpdir()).type) ?? 'other',
    'of run directories': fileSystems.get(statfsSync(runParent()).type) ?? 'other',
    node: process.version,
    slipway: firstLine('git', ['describe', '--always', '--dirty']),
    crun: firstLine('crun', ['--version']),
    runc: firstLine('runc', ['--version']),
    podman: firstLine('podman', ['--version']),
    buildx: await buildxVersion(),
    'docker-registry': firstLine('docker-registry', ['--version']),
    zstd: firstLine('zstd', ['--version']),
    conmon: firstLine('conmon', ['--version']),
    docker:
      docker === undefined
        ? 'not measured'
        : firstLine(dockerClient, ['-H', docker, 'version', '--format', '{{.Server.Version}} (client {{.Client.Version}})']),
  };
}
