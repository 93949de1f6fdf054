import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { listMounts, unmount } from '../../src/kernel/mount.ts';

const run = promisify(execFile);
const missing = ['skopeo', 'umoci', 'buildah'].filter((name) => !existsSync(`/usr/bin/${name}`));

/** Why skopeo, umoci and buildah cannot run here; false when they can. */
export const cannotRunOciPeers: string | false =
  process.getuid?.() !== 0 ? 'needs root' : missing.length > 0 && `needs ${missing.join(', ')}`;

/** skopeo, umoci and buildah, with what they keep in a folder that goes away at the end. */
export class OciPeers implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'slipway-peers-'));
  #count = 0;

  async skopeo(...words: string[]): Promise<string> {
    return (await run('skopeo', words, { maxBuffer: 16 << 20 })).stdout.trim();
  }

  /** `registry/name:tag` copied by skopeo and unpacked by umoci: the folder with its files. */
  async unpack(image: string, ...options: string[]): Promise<string> {
    const layout = join(this.folder, `layout-${this.#count}`);
    const bundle = join(this.folder, `bundle-${this.#count++}`);
    await this.skopeo('copy', '-q', '--src-tls-verify=false', ...options, `docker://${image}`, `oci:${layout}:image`);
    await run('umoci', ['unpack', '--image', `${layout}:image`, bundle]);
    return join(bundle, 'rootfs');
  }

  async buildah(...words: string[]): Promise<string> {
    const own = ['--root', join(this.folder, 'buildah'), '--runroot', join(this.folder, 'buildah-run'), '--storage-driver', 'overlay'];
    return (await run('buildah', [...own, ...words], { maxBuffer: 16 << 20 })).stdout.trim();
  }

  /** Pulled by buildah and mounted. */
  async mount(image: string): Promise<string> {
    const container = await this.buildah('from', '--pull-always', '--tls-verify=false', `docker://${image}`);
    return await this.buildah('mount', container);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { mountPoint } of listMounts().reverse()) {
      if (mountPoint.startsWith(`${this.folder}/`)) unmount(mountPoint, { detach: true });
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
