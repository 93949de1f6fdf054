import type { DatabaseFile, Package } from './model.ts';

/** `node_modules/NAME/package.json`. */
export function npmPackage({ path, text }: DatabaseFile): Package | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof json !== 'object' || json === null) return undefined;
  const { name, version, license, homepage } = json as Record<string, unknown>;
  if (typeof name !== 'string' || name === '' || typeof version !== 'string' || version === '') return undefined;
  const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
  return {
    name,
    version,
    kind: 'npm',
    license: isText(license) ? license : undefined,
    homepage: isText(homepage) ? homepage : undefined,
    path,
  };
}

/** Whether a path is that of an installed package's description: `…/node_modules/x/package.json` or `…/node_modules/@scope/x/package.json`, and not one deeper in a package. */
export function isNpmManifest(path: string): boolean {
  return /(?:^|\/)node_modules\/(?:@[^/]+\/)?[^/@.][^/]*\/package\.json$/.test(path);
}

/** `*.dist-info/METADATA` (PyPA core metadata), or `*.egg-info/PKG-INFO` before it. */
export function pythonPackage({ path, text }: DatabaseFile): Package | undefined {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    // The description comes after the first empty line.
    if (line.trim() === '') break;
    const match = /^([A-Za-z-]+):[ \t]*(.*?)\s*$/.exec(line);
    if (match?.[1] !== undefined && !fields.has(match[1].toLowerCase())) fields.set(match[1].toLowerCase(), match[2] ?? '');
  }
  const name = fields.get('name');
  const version = fields.get('version');
  if (name === undefined || version === undefined) return undefined;
  const license = fields.get('license-expression') ?? fields.get('license');
  // Normalised, as package URLs and pip have names (PEP 503).
  return {
    name: name.toLowerCase().replace(/[-_.]+/g, '-'),
    version,
    kind: 'pypi',
    license: license === undefined || license.length > 200 || license === 'UNKNOWN' ? undefined : license,
    homepage: fields.get('home-page') === 'UNKNOWN' ? undefined : fields.get('home-page'),
    path,
  };
}

export function isPythonMetadata(path: string): boolean {
  return /\.dist-info\/METADATA$|\.egg-info\/PKG-INFO$/.test(path);
}
