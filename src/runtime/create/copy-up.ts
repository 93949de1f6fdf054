import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { EngineError } from '../../base/errors.ts';
import { InRoot } from '../spec/in-root.ts';

/**
 * Fills a volume with what the image has at its destination, on first use: when the volume is empty. Owners, modes, times, attributes and
 * hardlinks come along. Done by `cp`, outside the event loop and with names as bytes.
 */
export async function copyUp(rootfs: string, destination: string, volume: string): Promise<void> {
  if ((await readdir(volume)).length > 0) return;
  using root = new InRoot(rootfs);
  if (!root.stat(destination)?.isDirectory()) return;
  const source = root.open(destination);
  if (source === undefined) return;
  try {
    await copy(source, volume);
  } finally {
    closeSync(source);
  }
}

/** The source is a descriptor, so that nothing swapped in its path meanwhile is followed. */
function copy(source: number, target: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('cp', ['-a', '--reflink=auto', '/proc/self/fd/3/.', `${target}/`], { stdio: ['ignore', 'ignore', 'pipe', source] });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(0, 4_096);
    });
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve();
      else
        reject(new EngineError('Internal', 'COPY_UP_FAILED', `cannot copy the image's files into the volume at ${target}: ${said.trim()}`));
    });
  });
}
