import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../base/errors.ts';

/** Class (1: 32 bits, 2: 64), data (1: little-endian, 2: big) and machine of ELF files, by Go's names of architectures (elf(5), `e_ident` and `e_machine`). */
const machines: Readonly<Record<string, readonly [bits: number, order: number, machine: number]>> = {
  '386': [1, 1, 3],
  amd64: [2, 1, 62],
  arm: [1, 1, 40],
  arm64: [2, 1, 183],
  loong64: [2, 1, 258],
  mips64: [2, 2, 8],
  mips64le: [2, 1, 8],
  ppc64le: [2, 1, 21],
  riscv64: [2, 1, 243],
  s390x: [2, 2, 22],
};

export type Emulation =
  /** `fixed`: the interpreter is open in the kernel (flag F), so that it serves programs in any root. */
  { readonly kind: 'handler'; readonly name: string; readonly interpreter: string; readonly fixed: boolean } | { readonly kind: 'none' };

/**
 * What the kernel runs programs of another architecture with (kernel admin-guide/binfmt-misc.rst). An enabled handler whose magic fits an executable of it; one with the flag F goes before others. `none`
 * where there is none or binfmt_misc is not mounted.
 */
export function emulationOf(architecture: string, directory = '/proc/sys/fs/binfmt_misc'): Emulation {
  const header = elfHeader(architecture);
  if (header === undefined) return { kind: 'none' };
  let found: Emulation = { kind: 'none' };
  for (const name of handlers(directory)) {
    const handler = readHandler(directory, name);
    if (handler === undefined || !fits(handler, header)) continue;
    found = { kind: 'handler', name, interpreter: handler.interpreter, fixed: handler.flags.includes('F') };
    if (found.fixed) return found;
  }
  return found;
}

/** Architectures whose programs the kernel runs by a handler that serves any root. */
export function emulatedArchitectures(directory?: string): string[] {
  return Object.keys(machines).filter((architecture) => {
    const emulation = emulationOf(architecture, directory);
    return emulation.kind === 'handler' && emulation.fixed;
  });
}

type Handler = { interpreter: string; flags: string; offset: number; magic: Buffer; mask: Buffer | undefined };

function handlers(directory: string): string[] {
  try {
    const names = readdirSync(directory);
    const isOn = !names.includes('status') || readFileSync(join(directory, 'status'), 'latin1').startsWith('enabled');
    return isOn ? names.filter((name) => name !== 'register' && name !== 'status').sort() : [];
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP')) return [];
    throw error;
  }
}

/** Undefined when it is disabled, goes by extensions of names, or was removed meanwhile. */
function readHandler(directory: string, name: string): Handler | undefined {
  let text: string;
  try {
    text = readFileSync(join(directory, name), 'latin1');
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EACCES')) return undefined;
    throw error;
  }
  const value = (key: string) => new RegExp(`^${key}:? (.*)$`, 'm').exec(text)?.[1];
  const [interpreter, magic, mask] = [value('interpreter'), value('magic'), value('mask')];
  if (!text.startsWith('enabled') || interpreter === undefined || magic === undefined) return undefined;
  return {
    interpreter,
    flags: value('flags') ?? '',
    offset: Number(value('offset') ?? 0),
    magic: Buffer.from(magic, 'hex'),
    mask: mask === undefined ? undefined : Buffer.from(mask, 'hex'),
  };
}

function fits({ offset, magic, mask }: Handler, header: Buffer): boolean {
  if (magic.length === 0 || offset + magic.length > header.length) return false;
  return magic.every((byte, at) => (((header[offset + at] ?? 0) ^ byte) & (mask?.[at] ?? 0xff)) === 0);
}

/** The first 64 bytes of a static executable. */
function elfHeader(architecture: string): Buffer | undefined {
  const known = machines[architecture];
  if (known === undefined) return undefined;
  const [bits, order, machine] = known;
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, bits, order, 1]);
  const write = (value: number, at: number) => (order === 1 ? header.writeUInt16LE(value, at) : header.writeUInt16BE(value, at));
  write(2, 16);
  write(machine, 18);
  return header;
}
