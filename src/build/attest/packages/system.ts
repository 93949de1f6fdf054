import type { DatabaseFile, Package } from './model.ts';

/** Stanzas of `Name: value` lines, continued by lines that begin with a blank (deb822(5)). */
function stanzas(text: string): Map<string, string>[] {
  return text.split(/\n[ \t]*\n+/).map((stanza) => {
    const fields = new Map<string, string>();
    for (const line of stanza.split('\n')) {
      const match = /^([^\s:]+):[ \t]*(.*)$/.exec(line);
      if (match?.[1] !== undefined) fields.set(match[1].toLowerCase(), match[2] ?? '');
    }
    return fields;
  });
}

/** `/var/lib/dpkg/status`, or a file of `/var/lib/dpkg/status.d`, in which distroless images have one package each. */
export function dpkgPackages({ path, text }: DatabaseFile, namespace: string | undefined): Package[] {
  return stanzas(text).flatMap((fields): Package[] => {
    const name = fields.get('package');
    const version = fields.get('version');
    const status = fields.get('status');
    if (name === undefined || version === undefined || (status !== undefined && !/\binstalled$/.test(status))) return [];
    if (status?.endsWith('not-installed') === true) return [];
    return [
      {
        name,
        version,
        kind: 'deb',
        namespace: namespace ?? 'debian',
        architecture: fields.get('architecture'),
        supplier: fields.get('maintainer'),
        homepage: fields.get('homepage'),
        source: fields.get('source'),
        path,
      },
    ];
  });
}

/** `/lib/apk/db/installed`: one letter, a colon and the value on each line, packages with blank lines between them (apk-v2 package format). */
export function apkPackages({ path, text }: DatabaseFile, namespace: string | undefined): Package[] {
  return text.split('\n\n').flatMap((entry): Package[] => {
    const fields = new Map(entry.split('\n').map((line) => [line.slice(0, 1), line.slice(2)]));
    const name = fields.get('P');
    const version = fields.get('V');
    if (name === undefined || name === '' || version === undefined) return [];
    return [
      {
        name,
        version,
        kind: 'apk',
        namespace: namespace ?? 'alpine',
        architecture: fields.get('A'),
        license: fields.get('L'),
        supplier: fields.get('m'),
        homepage: fields.get('U'),
        source: fields.get('o'),
        path,
      },
    ];
  });
}

/** os-release(5): what the files of a distribution say it is. */
export function osRelease(text: string): ReadonlyMap<string, string> {
  const pairs = text.split('\n').flatMap((line): [string, string][] => {
    const match = /^([A-Z_]+)=(.*)$/.exec(line.trim());
    return match?.[1] === undefined ? [] : [[match[1], (match[2] ?? '').replace(/^(["'])(.*)\1$/, '$2')]];
  });
  return new Map(pairs);
}
