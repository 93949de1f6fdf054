import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findProgram } from '../../src/host/programs.ts';
import { emulationOf } from '../../src/kernel/binfmt.ts';
import { cannotRunDaemon, DaemonPlace } from './api-daemon-harness.ts';

const cli = join(import.meta.dirname, '../../src/cli/main.ts');
const emulator = findProgram('qemu-aarch64-static');
const binfmt = '/proc/sys/fs/binfmt_misc';
const skip = process.arch !== 'x64' ? 'the foreign platform here is arm64' : cannotRunDaemon;

/** An executable for arm64 that writes a line: eight instructions and the text (ELF-64, one segment). */
function armProgram(text: string): Buffer {
  const code = [0xd2800020, 0x100000e1, 0xd2800002 | (text.length << 5), 0xd2800808, 0xd4000001, 0xd2800000, 0xd2800ba8, 0xd4000001];
  const size = 120 + code.length * 4 + text.length;
  const file = Buffer.alloc(size);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(2, 16);
  file.writeUInt16LE(183, 18);
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(0x400078n, 24);
  file.writeBigUInt64LE(64n, 32);
  for (const [at, value] of [
    [52, 64],
    [54, 56],
    [56, 1],
  ] as const)
    file.writeUInt16LE(value, at);
  file.writeUInt32LE(1, 64);
  file.writeUInt32LE(5, 68);
  file.writeBigUInt64LE(0x400000n, 80);
  file.writeBigUInt64LE(0x400000n, 88);
  file.writeBigUInt64LE(BigInt(size), 96);
  file.writeBigUInt64LE(BigInt(size), 104);
  file.writeBigUInt64LE(0x10000n, 112);
  code.forEach((word, index) => void file.writeUInt32LE(word >>> 0, 120 + index * 4));
  file.write(text, 120 + code.length * 4);
  return file;
}

/** Lets the kernel run programs for arm64, for as long as the tests take; true when it does. */
class Emulation {
  #mounted = false;
  #registered = false;

  begin(): boolean {
    if (emulator === undefined) return false;
    if (!existsSync(`${binfmt}/register`)) {
      // Where the host does not let us, foreign programs cannot be tried.
      if (spawnSync('mount', ['-t', 'binfmt_misc', 'none', binfmt]).status !== 0) return false;
      this.#mounted = true;
    }
    if (emulationOf('arm64').kind === 'none') {
      const magic = '\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00';
      const mask = '\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff';
      writeFileSync(`${binfmt}/register`, `:slipway-test-arm64:M::${magic}:${mask}:${emulator}:F`);
      this.#registered = true;
    }
    return true;
  }

  end(): void {
    if (this.#registered) writeFileSync(`${binfmt}/slipway-test-arm64`, '-1');
    if (this.#mounted) execFileSync('umount', [binfmt]);
  }
}

describe('a build for several platforms', { skip }, () => {
  const place = new DaemonPlace();
  const folder = join(place.folder, 'app');
  const emulation = new Emulation();
  let emulated = false;
  before(async () => {
    await place.start();
    mkdirSync(join(folder, 'arm64'), { recursive: true });
    mkdirSync(join(folder, 'amd64'));
    writeFileSync(join(folder, 'arm64/hello'), armProgram('hello from arm64\n'), { mode: 0o755 });
    writeFileSync(join(folder, 'amd64/hello'), '#!/bin/sh\necho hello from amd64\n', { mode: 0o755 });
    slipway(['import', place.imageTar(), 'bb:1']);
    emulated = emulation.begin();
  });
  after(async () => {
    emulation.end();
    await place.remove();
  });

  function slipway(args: readonly string[]): string {
    return execFileSync(process.execPath, [cli, ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH ?? '', HOME: place.folder, SLIPWAY_HOST: `unix://${place.socket}` },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  const failure = (args: readonly string[]): string => {
    try {
      slipway(args);
    } catch (error) {
      return String((error as { stderr?: string }).stderr);
    }
    return assert.fail(`"slipway ${args.join(' ')}" succeeded`);
  };

  const dockerfile = (...lines: string[]) => writeFileSync(join(folder, 'Dockerfile'), `${lines.join('\n')}\n`);

  test('copies need no emulator, and a step of this host runs once for all', () => {
    dockerfile(
      'FROM --platform=$BUILDPLATFORM bb:1 AS made',
      'ARG BUILDPLATFORM',
      'RUN echo "$BUILDPLATFORM" > /made; cat /proc/sys/kernel/random/uuid >> /made',
      'FROM scratch',
      'ARG TARGETPLATFORM',
      'ARG TARGETARCH',
      'LABEL for=$TARGETPLATFORM',
      'COPY $TARGETARCH/hello /hello',
      'COPY --from=made /made /made',
      'CMD ["/hello"]',
    );
    slipway(['build', '-q', '--platform', 'linux/amd64,linux/arm64', '--output', 'type=local,dest=../none', '.']);
    const made = (name: string) => readFileSync(join(folder, '../none', name, 'made'), 'utf8');
    assert.match(made('linux_amd64'), /^linux\/amd64\n/);
    assert.equal(made('linux_arm64'), made('linux_amd64'));

    slipway(['build', '-q', '-t', 'several:1', '--platform', 'linux/amd64,linux/arm64', '.']);
    // One image in the list, with its platforms inside.
    assert.deepEqual(slipway(['images', '--format', '{{.Repository}}:{{.Tag}}']).trim().split('\n').sort(), ['bb:1', 'several:1']);
    assert.equal(JSON.parse(slipway(['inspect', 'several:1']))[0].Config.Labels.for, 'linux/amd64');

    // What is saved has the index, and both images whole.
    slipway(['save', '-o', join(place.folder, 'several.tar'), '--format', 'oci', 'several:1']);
    const inTar = (name: string) =>
      JSON.parse(execFileSync('tar', ['-xOf', join(place.folder, 'several.tar'), name], { encoding: 'utf8' }));
    const [{ digest }] = inTar('index.json').manifests;
    const index = inTar(`blobs/${digest.replace(':', '/')}`);
    assert.deepEqual(
      index.manifests.map((each: { platform: object }) => each.platform),
      [
        { os: 'linux', architecture: 'amd64' },
        { os: 'linux', architecture: 'arm64' },
      ],
    );
    for (const manifest of index.manifests) {
      const { config } = inTar(`blobs/${manifest.digest.replace(':', '/')}`);
      const { architecture, config: run } = inTar(`blobs/${config.digest.replace(':', '/')}`);
      assert.deepEqual([architecture, run.Labels.for], [manifest.platform.architecture, `linux/${architecture}`]);
    }
  });

  test('a step for a machine that nothing here emulates says so, with its place', () => {
    dockerfile('FROM scratch', 'COPY arm64/hello /hello', 'RUN ["/hello"]');
    const said = failure(['build', '--platform', 'linux/amd64,linux/mips64le', '.']);
    assert.match(said, /Dockerfile:3:1: this step needs programs for mips64le .* binfmt_misc has no handler for them/);
    assert.match(said, /qemu-user-static/);
    assert.match(failure(['build', '--platform', 'linux/amd64,linux/amd64', '.']), /named twice/);
    assert.match(failure(['build', '--platform', 'linux/no such', '.']), /is not a platform/);
    dockerfile('FROM bb:1');
    assert.match(failure(['build', '--platform', 'linux/arm64', '.']), /bb:1 is here for linux\/amd64 only, not for linux\/arm64/);
  });

  test('with an emulator its steps and containers run', (t) => {
    if (!emulated) return t.skip('needs qemu-user-static');
    dockerfile(
      'FROM scratch',
      'ARG TARGETARCH',
      'COPY $TARGETARCH/hello /hello',
      'FROM scratch AS only',
      'COPY arm64/hello /hello',
      'RUN ["/hello"]',
      'CMD ["/hello"]',
    );
    const said = execFileSync(process.execPath, [cli, 'build', '--progress', 'plain', '-t', 'arm:1', '--platform', 'linux/arm64', '.'], {
      cwd: folder,
      env: { PATH: process.env.PATH ?? '', HOME: place.folder, SLIPWAY_HOST: `unix://${place.socket}` },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    assert.match(
      said + slipway(['build', 'logs', slipway(['build', 'ls', '--format', '{{.ID}}']).split('\n')[0] ?? '']),
      /hello from arm64/,
    );
    assert.equal(slipway(['run', '--rm', 'arm:1']), 'hello from arm64\n');
    assert.equal(slipway(['run', '--rm', '--platform', 'linux/arm64', 'several:1']), 'hello from arm64\n');
    assert.match(
      failure(['run', '--rm', '--pull', 'never', '--platform', 'linux/s390x', 'several:1']),
      /does not match the specified platform/,
    );
  });
});
