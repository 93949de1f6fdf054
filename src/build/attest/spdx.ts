import { type Hex, sha256 } from '../../oci/digest.ts';
import type { Package } from './packages/model.ts';

/** Identifiers of the SPDX licence list that package databases use most. Of any other the text is told as a comment: an expression with an unknown name is no valid document. */
const knownLicenses = new Set(
  (
    '0BSD AFL-2.1 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 Artistic-1.0 Artistic-2.0 BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause BSD-3-Clause BSD-4-Clause BSL-1.0 bzip2-1.0.6 CC-BY-3.0 ' +
    'CC-BY-4.0 CC-BY-SA-4.0 CC0-1.0 CDDL-1.0 curl EPL-1.0 EPL-2.0 FTL GFDL-1.3-only GFDL-1.3-or-later GPL-1.0-only GPL-1.0-or-later GPL-2.0 GPL-2.0-only GPL-2.0-or-later GPL-3.0 GPL-3.0-only ' +
    'GPL-3.0-or-later HPND ICU ISC LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1 LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0 LGPL-3.0-only LGPL-3.0-or-later Libpng MIT MIT-0 MPL-1.1 MPL-2.0 MS-PL NCSA ' +
    'OFL-1.1 OpenSSL PHP-3.01 PostgreSQL PSF-2.0 Python-2.0 Ruby TCL Unicode-3.0 Unicode-DFS-2016 Unlicense Vim W3C WTFPL X11 Zlib zlib-acknowledgement ZPL-2.1'
  ).split(' '),
);

export type SpdxInput = {
  readonly packages: readonly Package[];
  readonly release: ReadonlyMap<string, string>;
  /** The content digest of the tree, which is what the document is about. */
  readonly content: Hex;
  /** RFC 3339. */
  readonly created: string;
};

/** An SPDX 2.3 document in its JSON form (spdx.github.io/spdx-spec/v2.3). The same tree and time give the same document. */
export function spdxDocument({ packages, release, content, created }: SpdxInput): Record<string, unknown> {
  const root = 'SPDXRef-DocumentRoot';
  const listed = packages.map((each, index) => spdxPackage(each, `SPDXRef-Package-${index + 1}`, release));
  const named = sha256(JSON.stringify([content, created, listed.length]));
  return {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: 'sbom',
    documentNamespace: `https://spdx.org/spdxdocs/slipway-${named}`,
    creationInfo: { created: created.replace(/\.\d+Z$/, 'Z'), creators: ['Tool: slipway'] },
    packages: [
      {
        SPDXID: root,
        name: release.get('PRETTY_NAME') ?? 'tree',
        versionInfo: release.get('VERSION_ID') ?? content,
        downloadLocation: 'NOASSERTION',
        filesAnalyzed: false,
        supplier: 'NOASSERTION',
        licenseConcluded: 'NOASSERTION',
        licenseDeclared: 'NOASSERTION',
        copyrightText: 'NOASSERTION',
        primaryPackagePurpose: 'CONTAINER',
        comment: `the content of the tree ${content}`,
      },
      ...listed,
    ],
    relationships: [
      { spdxElementId: 'SPDXRef-DOCUMENT', relationshipType: 'DESCRIBES', relatedSpdxElement: root },
      ...listed.map(({ SPDXID }) => ({ spdxElementId: root, relationshipType: 'CONTAINS', relatedSpdxElement: SPDXID })),
    ],
  };
}

function spdxPackage(found: Package, id: string, release: ReadonlyMap<string, string>): Record<string, unknown> & { SPDXID: string } {
  const { name, version, license, supplier, homepage, source, path } = found;
  const declared = license !== undefined && isExpression(license) ? license : undefined;
  return {
    SPDXID: id,
    name,
    versionInfo: version,
    downloadLocation: 'NOASSERTION',
    filesAnalyzed: false,
    supplier: supplier === undefined || supplier === '' ? 'NOASSERTION' : supplierOf(supplier),
    ...(homepage === undefined || !/^https?:\/\/\S+$/.test(homepage) ? {} : { homepage }),
    licenseConcluded: 'NOASSERTION',
    licenseDeclared: declared ?? 'NOASSERTION',
    ...(license === undefined || declared !== undefined ? {} : { licenseComments: license }),
    copyrightText: 'NOASSERTION',
    sourceInfo: `found in /${path}${source === undefined || source === name ? '' : `, built from ${source}`}`,
    externalRefs: [{ referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: purlOf(found, release) }],
  };
}

function isExpression(text: string): boolean {
  const words = text.replace(/[()]/g, ' ').trim().split(/\s+/);
  return (
    words.length % 2 === 1 && words.every((word, index) => (index % 2 === 0 ? knownLicenses.has(word) : word === 'AND' || word === 'OR'))
  );
}

/** `Name <address>` is a person or a group; which of the two no database says. */
function supplierOf(text: string): string {
  const match = /^(.*?)\s*<([^<>]*)>$/.exec(text.replace(/\s+/g, ' ').trim());
  return match === null ? `Organization: ${text.trim()}` : `Organization: ${match[1]} (${match[2]})`;
}

/** Package URL (github.com/package-url/purl-spec). */
function purlOf({ kind, name, version, namespace, architecture, source }: Package, release: ReadonlyMap<string, string>): string {
  const encode = (text: string) => encodeURIComponent(text).replaceAll('%3A', ':');
  const path =
    kind === 'golang' || kind === 'npm'
      ? name.split('/').map(encode).join('/')
      : [...(namespace === undefined || kind === 'pypi' ? [] : [namespace]), name].map(encode).join('/');
  const [distribution, release_] = [release.get('ID'), release.get('VERSION_ID')];
  const isSystem = kind === 'deb' || kind === 'apk' || kind === 'rpm';
  const qualifiers = [
    ...(architecture === undefined ? [] : [`arch=${encode(architecture)}`]),
    ...(isSystem && distribution !== undefined
      ? [`distro=${encode([distribution, release_].filter((part) => part !== undefined).join('-'))}`]
      : []),
    ...(isSystem && source !== undefined && source !== name ? [`upstream=${encode(source.replace(/ \(.*\)$/, ''))}`] : []),
  ];
  return `pkg:${kind}/${path}@${encode(version)}${qualifiers.length === 0 ? '' : `?${qualifiers.join('&')}`}`;
}
