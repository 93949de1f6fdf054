import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describeFolder, type FileState } from '../support/filesystem.ts';
import { DaemonPlace, type DaemonProcess } from './api-daemon-harness.ts';

const run = promisify(execFile);
const program = join(import.meta.dirname, '../../src/cli/main.ts');

export type CommandEnd = { status: number; stdout: string; stderr: string };

/** A daemon of our own and the command line against it. */
export class TransportHost implements AsyncDisposable {
  readonly place = new DaemonPlace();
  #daemon: DaemonProcess | undefined;
  #count = 0;

  async start(...flags: string[]): Promise<this> {
    this.#daemon = await this.place.start(...flags);
    return this;
  }

  get daemon(): DaemonProcess {
    assert.ok(this.#daemon !== undefined, 'the daemon was started');
    return this.#daemon;
  }

  /** SIGKILL, and a new daemon over the same root. */
  async killAndRestart(): Promise<void> {
    await this.daemon.kill();
    await this.start();
  }

  /** The command's end, whatever it is. */
  async attempt(...words: string[]): Promise<CommandEnd> {
    const environment = { ...process.env, SLIPWAY_HOST: `unix://${this.place.socket}`, NO_COLOR: '1' };
    try {
      const { stdout, stderr } = await run(process.execPath, [program, ...words], { env: environment, maxBuffer: 64 << 20 });
      return { status: 0, stdout: stdout.trim(), stderr };
    } catch (error) {
      const { code, stdout = '', stderr = '' } = error as { code?: number; stdout?: string; stderr?: string };
      return { status: typeof code === 'number' ? code : 1, stdout: stdout.trim(), stderr };
    }
  }

  async cli(...words: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.attempt(...words);
    assert.equal(status, 0, `slipway ${words.join(' ')} ended with ${status}:\n${stdout}\n${stderr}`);
    return stdout;
  }

  /** A folder becomes an image, everything in it as GNU tar reads it. */
  async importFolder(folder: string, image: string): Promise<void> {
    const tar = join(this.place.folder, `root-${this.#count++}.tar`);
    const options = ['--format=posix', '--xattrs', '--xattrs-include=*', '--numeric-owner', '--sparse', '--sort=name'];
    await run('tar', [...options, '-C', folder, '-cf', tar, '.']);
    await this.cli('import', tar, image);
  }

  /** The files of an image: its export, unpacked by GNU tar. */
  async filesOf(image: string): Promise<string> {
    const name = `files-${this.#count++}`;
    const tar = join(this.place.folder, `${name}.tar`);
    const folder = join(this.place.folder, name);
    await this.cli('create', '--name', name, image, 'true');
    await this.cli('export', '-o', tar, name);
    await this.cli('rm', name);
    mkdirSync(folder);
    await run('tar', ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-C', folder, '-xpf', tar]);
    return folder;
  }

  /** `[repository@sha256:…]` of an image. */
  async repoDigests(image: string): Promise<string[]> {
    const [found] = JSON.parse(await this.cli('image', 'inspect', image)) as [{ RepoDigests: string[] }];
    return found.RepoDigests;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.place.remove();
  }
}

/** What two folders do not have in common, a line each; none when they are the same in everything that a tar can carry. The top's own time is left out. */
export function differences(actual: string, expected: string): string[] {
  const [found, wanted] = [describeFolder(actual), describeFolder(expected)];
  const lines: string[] = [];
  for (const path of [...new Set([...wanted.keys(), ...found.keys()])].sort()) {
    const [has, should] = [found.get(path), wanted.get(path)];
    if (has === undefined || should === undefined) lines.push(`${should === undefined ? 'more' : 'missing'}: ${path}`);
    else lines.push(...fields(path, has, should));
  }
  return lines;
}

function fields(path: string, has: FileState, should: FileState): string[] {
  const shown = (state: FileState) => ({
    mode: state.mode.toString(8),
    owner: state.owner,
    body: state.body,
    'first name': state.sameAs,
    xattrs: JSON.stringify(state.xattrs),
    time: path === '' ? '' : String(state.mtimeNs),
  });
  const [left, right] = [shown(has), shown(should)];
  return Object.keys(right).flatMap((key) => {
    const name = key as keyof typeof right;
    return left[name] === right[name] ? [] : [`${path}: ${name} is ${left[name]} and not ${right[name]}`];
  });
}

/** `who` unpacked it. buildah makes the top its own, whatever the image says. */
export function assertSameFiles(actual: string, expected: string, who: string): void {
  const lines = differences(actual, expected).filter((line) => !(who === 'buildah' && line.startsWith(': mode')));
  assert.deepEqual(lines.slice(0, 20), [], `${who}: ${lines.length} differences`);
}

export type Manifest = {
  mediaType?: string;
  config?: { digest: string };
  layers?: { digest: string; size: number; mediaType: string }[];
  manifests?: { digest: string; size: number; mediaType: string; artifactType?: string; platform?: { architecture: string; os: string } }[];
};

const accept = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

/** A manifest or index as the registry has it. */
export async function manifestOf(registry: string, repository: string, tag: string): Promise<{ digest: string; manifest: Manifest }> {
  const response = await fetch(`http://${registry}/v2/${repository}/manifests/${tag}`, { headers: { accept } });
  assert.equal(response.status, 200, `${repository}:${tag} at ${registry}`);
  return { digest: response.headers.get('docker-content-digest') ?? '', manifest: (await response.json()) as Manifest };
}

/** The ordinary manifest, of a tag that may name an index. */
export async function ordinaryManifest(registry: string, repository: string, tag: string): Promise<{ digest: string; manifest: Manifest }> {
  const found = await manifestOf(registry, repository, tag);
  const first = found.manifest.manifests?.[0];
  return first === undefined ? found : await manifestOf(registry, repository, first.digest);
}
