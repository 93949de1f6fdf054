import { execFile } from 'node:child_process';
import { EngineError } from '../../base/errors.ts';
import { listMounts } from '../../kernel/mount.ts';
import { type LocalDevice, withoutPassword } from './local-options.ts';

/** How long a server may take. Then the child is killed, which the kernel's network file systems allow. */
const timeoutMs = 90_000;

/**
 * Mounts through a child, mount(8): a server that does not answer holds up a process that can be killed, not a thread of the engine. Helpers
 * (`mount.nfs`) are not asked, as Docker does not: what the options mean is the kernel's to say.
 */
export async function mountDevice(device: LocalDevice, target: string): Promise<void> {
  const { type, options } = device;
  const all = ['-n', '-i', '-c', '-t', type, ...(options === '' ? [] : ['-o', options]), '--', device.device, target];
  const failed = await run('mount', all);
  if (failed === undefined) return;
  const shown = withoutPassword(options);
  throw new EngineError(
    'Internal',
    'VOLUME_MOUNT_FAILED',
    `error while mounting volume '${target}': failed to mount local volume: mount ${device.device}:${target}${shown === '' ? '' : `, data: ${shown}`}: ${failed.replaceAll(options, shown)}`,
    { hint: 'See the volume\'s options with "slipway volume inspect".' },
  );
}

/** Leaves the name space at once, whoever still works in it. In a child too: it may wait for a server. */
export async function unmountDevice(target: string): Promise<void> {
  while (isMounted(target)) {
    const failed = await run('umount', ['-n', '-i', '-l', '-c', '--', target]);
    if (failed !== undefined && isMounted(target)) {
      throw new EngineError('Internal', 'VOLUME_UNMOUNT_FAILED', `error while unmounting volume '${target}': ${failed}`);
    }
  }
}

/** Asks the name space's table, never the file system: its server may be gone. */
export function isMounted(target: string): boolean {
  return listMounts().some(({ mountPoint }) => mountPoint === target);
}

/** What it said when it failed. */
function run(command: string, args: string[]): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { timeout: timeoutMs, killSignal: 'SIGKILL', env: { ...process.env, LC_ALL: 'C' } }, (error, _out, stderr) => {
      if (error === null) resolve(undefined);
      else if (error.killed) resolve(`no answer within ${timeoutMs / 1000} s`);
      else if (error.code === 'ENOENT')
        reject(new EngineError('Unavailable', 'MOUNT_MISSING', `${command}(8) is not installed`, { cause: error }));
      else resolve(explain(stderr));
    });
  });
}

/** `mount: /where: what is wrong.` and a line about dmesg. */
function explain(stderr: string): string {
  const [line = ''] = stderr.trim().split('\n');
  return line.replace(/^u?mount: ([^:]*: )?/, '').replace(/\.$/, '') || 'it failed without a word';
}
