import { DatabaseSync } from 'node:sqlite';
import type { Package } from './model.ts';

/** Tags of rpmtag.h, and the types that their values have. */
const tags = { name: 1000, version: 1001, release: 1002, epoch: 1003, vendor: 1011, license: 1014, url: 1020, arch: 1022, sourceRpm: 1044 };
const stringTypes = [6, 8, 9];
const int32Type = 4;
const maxEntries = 65_535;
const maxBlobBytes = 256 * 1024 * 1024;

/** Packages of an `rpmdb.sqlite` at a path of the host (rpm 4.16 and later): one header a row. A damaged header is left out. */
export function rpmPackages(file: string, path: string, namespace: string | undefined): Package[] {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const rows = database.prepare('SELECT blob FROM Packages').iterate();
    const packages: Package[] = [];
    for (const row of rows) {
      const { blob } = row as { blob: unknown };
      const header =
        blob instanceof Uint8Array && blob.length <= maxBlobBytes
          ? readHeader(Buffer.from(blob.buffer, blob.byteOffset, blob.length))
          : undefined;
      const found = header === undefined ? undefined : packageOf(header, path, namespace);
      if (found !== undefined) packages.push(found);
    }
    return packages;
  } finally {
    database.close();
  }
}

function packageOf(header: ReadonlyMap<number, string>, path: string, namespace: string | undefined): Package | undefined {
  const name = header.get(tags.name);
  const version = header.get(tags.version);
  // Keys that were imported are rows, too.
  if (name === undefined || version === undefined || name === 'gpg-pubkey') return undefined;
  const epoch = header.get(tags.epoch);
  const full = `${epoch === undefined || epoch === '0' ? '' : `${epoch}:`}${version}-${header.get(tags.release) ?? ''}`;
  return {
    name,
    version: full,
    kind: 'rpm',
    namespace,
    architecture: header.get(tags.arch),
    license: header.get(tags.license),
    supplier: header.get(tags.vendor),
    homepage: header.get(tags.url),
    source: header.get(tags.sourceRpm),
    path,
  };
}

/** A header as it lies in the database: count of entries, bytes of data, the entries (tag, type, offset, count), the data; all big-endian (rpm's "Header structure", without magic). */
function readHeader(blob: Buffer): Map<number, string> | undefined {
  if (blob.length < 8) return undefined;
  const entries = blob.readUInt32BE(0);
  const dataBytes = blob.readUInt32BE(4);
  const start = 8 + entries * 16;
  if (entries > maxEntries || start + dataBytes > blob.length) return undefined;
  const data = blob.subarray(start, start + dataBytes);
  const wanted = new Set(Object.values(tags));
  const values = new Map<number, string>();
  for (let index = 0; index < entries; index++) {
    const at = 8 + index * 16;
    const tag = blob.readUInt32BE(at);
    const type = blob.readUInt32BE(at + 4);
    const offset = blob.readUInt32BE(at + 8);
    if (!wanted.has(tag) || offset >= data.length) continue;
    if (type === int32Type && offset + 4 <= data.length) values.set(tag, String(data.readUInt32BE(offset)));
    const end = data.indexOf(0, offset);
    if (stringTypes.includes(type) && end >= 0) values.set(tag, data.toString('utf8', offset, end));
  }
  return values;
}
