import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setXattr } from '../../src/kernel/xattr.ts';

/** `security.capability`, version 2: cap_net_bind_service=ep. */
const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');

/** A root file system with everything that tells a careful tool from a careless one. Root only. */
export function makeAwkwardRoot(top: string): void {
  const at = (path: string) => join(top, path);
  const folders = [
    'bin',
    'etc/conf.d',
    'empty',
    'tmp',
    'usr/share/many',
    'usr/lib/app/cache',
    'var/log',
    'dev',
    'names',
    'links/deep/er',
    'private',
  ];
  for (const name of folders) mkdirSync(at(name), { recursive: true });

  writeFileSync(at('bin/busybox'), Buffer.alloc(300_000, 'a program of some size, and more of it. '), { mode: 0o755 });
  writeFileSync(at('bin/setuid'), '#!/bin/sh\n');
  writeFileSync(at('bin/capable'), '#!/bin/sh\n', { mode: 0o755 });
  writeFileSync(at('etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n', { mode: 0o644 });
  writeFileSync(at('etc/empty-file'), '');
  writeFileSync(at('etc/unreadable'), 'secret\n', { mode: 0o000 });
  for (let index = 0; index < 200; index++)
    writeFileSync(at(`usr/share/many/file-${index}.txt`), `${index}: the same text again and again\n`.repeat(index));
  for (const name of ['one', 'two', 'three']) writeFileSync(at(`usr/lib/app/cache/${name}`), `cached ${name}\n`);
  writeFileSync(at('usr/lib/app/main.js'), 'export const version = 1;\n');

  writeFileSync(at('links/first'), 'one file of four names\n');
  for (const name of ['links/second', 'links/deep/er/third', 'usr/lib/app/fourth']) linkSync(at('links/first'), at(name));
  symlinkSync('/etc/passwd', at('links/absolute'));
  symlinkSync('../etc/passwd', at('links/relative'));
  symlinkSync('nowhere/at/all', at('links/dangling'));
  symlinkSync('loop', at('links/loop'));
  symlinkSync('deep', at('links/to-directory'));
  symlinkSync(`/${'long/'.repeat(40)}target`, at('links/long-target'));

  for (const name of ['with space', 'ünïcödé 名前', 'new\nline', '-dash', 'back\\slash', '*?[x]', 'x.wh.y', '.hidden', 'n'.repeat(255)])
    writeFileSync(at(`names/${name}`), `${name}\n`);
  writeFileSync(Buffer.concat([Buffer.from(at('names/latin-')), Buffer.from([0xe9, 0xff])]), 'not UTF-8\n');
  const long = join('names', ...Array.from({ length: 12 }, (_, index) => `${index}-${'d'.repeat(60)}`));
  mkdirSync(at(long), { recursive: true });
  writeFileSync(at(join(long, 'file-at-the-end-of-a-path-of-more-than-700-bytes')), 'deep down\n');

  const sparse = openSync(at('var/sparse'), 'w');
  writeSync(sparse, 'begin', 0);
  writeSync(sparse, 'middle', 3 << 20);
  ftruncateSync(sparse, 8 << 20);
  closeSync(sparse);

  execFileSync('mknod', [at('dev/null'), 'c', '1', '3']);
  execFileSync('mknod', [at('dev/disk'), 'b', '259', '70000']);
  execFileSync('mknod', [at('dev/fifo'), 'p']);

  lchownSync(at('var/log'), 101, 4);
  lchownSync(at('etc/conf.d'), 3_000_000, 4_000_000);
  lchownSync(at('etc/passwd'), 1234, 5678);
  lchownSync(at('links/relative'), 1000, 1000);
  chmodSync(at('bin/setuid'), 0o4755);
  chmodSync(at('tmp'), 0o1777);
  chmodSync(at('var/log'), 0o2775);
  chmodSync(at('private'), 0o700);
  chmodSync(at('dev/null'), 0o666);

  setXattr(at('bin/capable'), 'security.capability', capability);
  setXattr(at('etc/conf.d'), 'user.on-directory', Buffer.from('value of a directory'));
  setXattr(at('etc/passwd'), 'user.bytes', Buffer.from([0, 1, 0x3d, 0x0a, 0xff]));
  settleTimes(top);
}

/** The next version: everything that a layer can say about the one before. */
export function changeAwkwardRoot(top: string): void {
  const at = (path: string) => join(top, path);
  writeFileSync(at('usr/lib/app/main.js'), 'export const version = 2;\n');
  writeFileSync(at('usr/lib/app/added.js'), 'new\n');
  rmSync(at('usr/share/many/file-7.txt'));
  rmSync(at('names/new\nline'));
  rmSync(at('links/second'));
  rmSync(at('links/dangling'));
  // A folder made anew: nothing of the old one may show through.
  rmSync(at('usr/lib/app/cache'), { recursive: true });
  mkdirSync(at('usr/lib/app/cache'));
  writeFileSync(at('usr/lib/app/cache/four'), 'cached four\n');
  // What was a folder is a file, and the other way round.
  rmSync(at('private'), { recursive: true });
  writeFileSync(at('private'), 'a file now\n');
  rmSync(at('etc/empty-file'));
  mkdirSync(at('etc/empty-file/inside'), { recursive: true });
  writeFileSync(at('etc/empty-file/inside/it'), 'a folder now\n');
  rmSync(at('links/to-directory'));
  mkdirSync(at('links/to-directory'));
  writeFileSync(at('links/to-directory/real'), 'a folder, not a link\n');
  // Metadata alone.
  chmodSync(at('bin/setuid'), 0o755);
  lchownSync(at('etc/conf.d'), 7, 8);
  setXattr(at('etc/passwd'), 'user.bytes', Buffer.from('others'));
  utimesSync(at('usr/share/many/file-8.txt'), 1_500_000_000, 1_500_000_000);
  // One more name for an old file.
  linkSync(at('usr/share/many/file-9.txt'), at('usr/share/many/file-9-again.txt'));
  renameSync(at('usr/share/many/file-10.txt'), at('usr/share/many/renamed.txt'));
  rmSync(at('dev/disk'));
  const times = 1_700_000_500;
  for (const path of [
    'usr/lib/app/main.js',
    'usr/lib/app/added.js',
    'usr/lib/app/cache/four',
    'private',
    'etc/empty-file/inside/it',
    'links/to-directory/real',
  ])
    utimesSync(at(path), times, times);
}

/** Times of all kinds, those of folders last. */
function settleTimes(top: string): void {
  let count = 0;
  const visit = (folder: Buffer) => {
    for (const entry of readdirSync(folder, { withFileTypes: true, encoding: 'buffer' })) {
      const path = Buffer.concat([folder, Buffer.from('/'), entry.name]);
      if (entry.isDirectory()) visit(path);
      const seconds = 1_600_000_000 + count * 1000 + (count % 3 === 0 ? 0.123456789 : 0);
      count++;
      lutimesSync(path, seconds, seconds);
    }
  };
  visit(Buffer.from(top));
  lutimesSync(join(top, 'bin/busybox'), 0, 0);
}
