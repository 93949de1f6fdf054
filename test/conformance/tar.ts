/** A tar (ustar) for tests, made by hand so that it needs no program. */
export function tar(
  entries: { name: string; type?: '0' | '2' | '5'; text?: string; mode?: number; uid?: number; gid?: number; link?: string }[],
): Buffer {
  const blocks: Buffer[] = [];
  for (const { name, type = '0', text = '', mode = 0o644, uid = 0, gid = 0, link = '' } of entries) {
    const header = Buffer.alloc(512);
    const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, '0')}\0`;
    header.write(name, 0);
    header.write(octal(type === '2' ? 0o777 : mode, 8), 100);
    header.write(octal(uid, 8), 108);
    header.write(octal(gid, 8), 116);
    header.write(octal(text.length, 12), 124);
    header.write(octal(1_600_000_000, 12), 136);
    header.write('        ', 148);
    header.write(type, 156);
    header.write(link, 157);
    header.write('ustar\0' + '00', 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    blocks.push(header, Buffer.from(text), Buffer.alloc((512 - (text.length % 512)) % 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}
