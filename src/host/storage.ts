import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { statfs } from '../kernel/files.ts';
import type { HostItem } from './report.ts';

type Traits = { name: string; reflink?: 'yes' | 'maybe'; problem?: string; fatal?: boolean };

/** By f_type of statfs(2). */
const types = new Map<number, Traits>([
  [0xef53, { name: 'ext4' }],
  [0x5846_5342, { name: 'xfs', reflink: 'maybe' }],
  [0x9123_683e, { name: 'btrfs', reflink: 'yes' }],
  [0xca45_1a4e, { name: 'bcachefs', reflink: 'yes' }],
  [0xf2f5_2010, { name: 'f2fs' }],
  [0x2fc1_2fc1, { name: 'zfs' }],
  [0x0102_1994, { name: 'tmpfs', problem: 'Everything on it is gone after a reboot, and it takes memory.' }],
  [
    0x794c_7630,
    {
      name: 'overlayfs',
      fatal: true,
      problem: 'The kernel makes no overlay on an overlay: give a --root on a real disk, such as a volume.',
    },
  ],
  [0x6969, { name: 'nfs', fatal: true, problem: 'Overlays need a local file system: give a --root on one.' }],
  [0xff53_4d42, { name: 'cifs', fatal: true, problem: 'Overlays need a local file system: give a --root on one.' }],
  [0x0102_1997, { name: '9p', fatal: true, problem: 'Overlays need a local file system: give a --root on one.' }],
  [0x6573_5546, { name: 'fuse', fatal: true, problem: 'Overlays need a local file system of the kernel: give a --root on one.' }],
  [0x4d44, { name: 'vfat', fatal: true, problem: 'It has neither owners nor links: give a --root on ext4, xfs or btrfs.' }],
]);

const lowSpaceBytes = 2 * 1024 ** 3;
const lowInodes = 200_000;

export function storageItems(root: string, run: string): HostItem[] {
  return [...rootItems(root), runItem(run)];
}

function rootItems(root: string): HostItem[] {
  const place = existingAncestor(root);
  const { type, availableBytes, freeFiles, files } = statfs(place);
  const traits = types.get(type) ?? {
    name: `a file system of type 0x${type.toString(16)}`,
    problem: 'The engine has not been tried on it: ext4, xfs and btrfs are known to work.',
  };
  const reflink = { yes: ', reflinks', maybe: ', reflinks unless made long ago', no: '' }[traits.reflink ?? 'no'];
  const common = { section: 'Storage' as const, required: true };
  const low = availableBytes < lowSpaceBytes || (files > 0 && freeFiles < lowInodes);
  const inodes = files > 0 ? `, ${Intl.NumberFormat('en').format(freeFiles)} inodes` : '';
  return [
    {
      ...common,
      name: 'root',
      status: traits.fatal ? 'unsupported' : traits.problem === undefined ? 'ok' : 'degraded',
      detail: `${root} on ${traits.name}${reflink}${place === root ? '' : ' (not made yet)'}`,
      why: traits.problem,
    },
    {
      ...common,
      required: false,
      name: 'free space',
      status: low ? 'degraded' : 'ok',
      detail: `${gigabytes(availableBytes)} GB${inodes}`,
      why: 'A base image and an application with its packages take about 2 GB and 200,000 inodes.',
    },
  ];
}

function runItem(run: string): HostItem {
  const volatile = types.get(statfs(existingAncestor(run)).type)?.name === 'tmpfs';
  return {
    section: 'Storage',
    name: 'run',
    // What a reboot leaves in it is recognised and removed: only slower.
    status: 'ok',
    required: false,
    detail: `${run} on ${volatile ? 'tmpfs' : 'a disk (a tmpfs would be emptied by a reboot; the engine does it)'}`,
  };
}

function existingAncestor(path: string): string {
  let place = path;
  while (!existsSync(place)) place = dirname(place);
  return place;
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}
