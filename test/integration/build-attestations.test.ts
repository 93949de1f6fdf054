// biome-ignore-all lint/suspicious/noTemplateCurlyInString: what dpkg-query expands
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import type { Digest } from '../../src/oci/digest.ts';
import { sha256 } from '../../src/oci/digest.ts';
import type { ImageIndex, Manifest } from '../../src/oci/image.ts';
import { ArchiveService } from '../../src/transport/archives/service.ts';
import { type BuildBench, type BuildOutcome, openBuilds } from '../support/builds.ts';
import { transportParts } from '../support/transport.ts';

const skip = process.getuid?.() !== 0 && 'needs root';

type Statement = { _type: string; predicateType: string; subject: { name: string; digest: { sha256: string } }[]; predicate: never };
type Provenance = {
  buildDefinition: {
    externalParameters: {
      configSource: { path: string; digest: { sha256: string } };
      request: { args: Record<string, string>; secrets?: { id: string }[] };
    };
    internalParameters: { buildConfig?: { definition: string; steps: { name: string }[] } };
    resolvedDependencies: { uri: string; digest: Record<string, string> }[];
  };
  runDetails: {
    metadata: { startedOn: string; finishedOn: string; slipway_network: { network: string; recorded: boolean; hosts: unknown[] }[] };
  };
};
type Spdx = {
  spdxVersion: string;
  documentNamespace: string;
  packages: { SPDXID: string; name: string; versionInfo: string; licenseDeclared: string; externalRefs?: { referenceLocator: string }[] }[];
  relationships: { spdxElementId: string; relationshipType: string; relatedSpdxElement: string }[];
};

const dpkgStatus = `Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc (2.41-6)
Version: 2.41-6+b1
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Description: GNU C Library
 Version: not a field

Package: gone
Status: deinstall ok config-files
Version: 1
`;

describe('attestations', { skip }, () => {
  let builds: BuildBench;
  let server: Server;
  let url: string;
  before(async () => {
    builds = await openBuilds();
    await builds.image(
      'base',
      { 'tmp/': { mode: 0o1777 }, 'usr/lib/os-release': 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian 13"\n' },
      {},
      true,
    );
    server = createServer((_request, response) => response.end('fetched'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/file`;
  });
  after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await builds[Symbol.asyncDispose]();
  });

  const blob = async <T>(digest: string): Promise<T> => {
    const bytes = readFileSync(builds.store.blobs.path(digest as Digest));
    assert.equal(`sha256:${sha256(bytes)}`, digest);
    return JSON.parse(bytes.toString('utf8')) as T;
  };

  /** The statements of a build, by the way that clients go: index, attestation manifest, layers. */
  async function statementsOf({ image }: BuildOutcome): Promise<{ index: ImageIndex; statements: Map<string, Statement> }> {
    const index = await blob<ImageIndex>(image?.origin?.index?.digest ?? '');
    const [first, entry] = index.manifests;
    assert.equal(first?.digest, image?.origin?.manifestDigest);
    assert.deepEqual(entry?.platform, { architecture: 'unknown', os: 'unknown' });
    assert.deepEqual(entry?.annotations, {
      'vnd.docker.reference.digest': first?.digest,
      'vnd.docker.reference.type': 'attestation-manifest',
    });
    const manifest = await blob<Manifest>(entry?.digest ?? '');
    const config = await blob<{ rootfs: { diff_ids: string[] } }>(manifest.config.digest);
    assert.deepEqual(
      config.rootfs.diff_ids,
      manifest.layers.map(({ digest }) => digest),
    );
    const statements = new Map<string, Statement>();
    for (const { digest, mediaType, annotations } of manifest.layers) {
      assert.equal(mediaType, 'application/vnd.in-toto+json');
      const statement = await blob<Statement>(digest);
      assert.equal(statement.predicateType, annotations?.['in-toto.io/predicate-type']);
      assert.equal(`sha256:${statement.subject[0]?.digest.sha256}`, first?.digest);
      statements.set(statement.predicateType, statement);
    }
    return { index, statements };
  }

  const spdxOf = async (built: BuildOutcome): Promise<Spdx> => {
    const statement = (await statementsOf(built)).statements.get('https://spdx.dev/Document');
    assert.ok(statement !== undefined);
    return statement.predicate;
  };

  test('provenance names what was built of, by digest', async () => {
    const dockerfile = `FROM base AS unused\nRUN false\nFROM base\nARG NAME\nADD ${url} /file\nCOPY a /a\nRUN --network=none echo $NAME > /n\nRUN --mount=type=secret,id=token true`;
    const request = { tags: ['docker.io/library/attested:1'], buildArgs: { NAME: 'written-by-hand' }, labels: { l: '1' } };
    const built = await builds.build(dockerfile, { a: '1' }, { ...request, attestations: { provenance: 'min' } });
    const { statements } = await statementsOf(built);
    const statement = statements.get('https://slsa.dev/provenance/v1');
    assert.equal(statement?._type, 'https://in-toto.io/Statement/v1');
    assert.equal(statement.subject[0]?.name, 'pkg:docker/attested@1?platform=linux%2Famd64'.replace('amd64', built.config.architecture));
    const { buildDefinition, runDetails } = statement.predicate as Provenance;
    assert.deepEqual(buildDefinition.externalParameters.configSource, { path: 'Dockerfile', digest: { sha256: sha256(dockerfile) } });
    assert.equal(JSON.stringify(statement).includes('written-by-hand'), false, 'min has nothing that a person wrote');
    const byUri = new Map(buildDefinition.resolvedDependencies.map(({ uri, digest }) => [uri, digest]));
    assert.deepEqual(byUri.get(url), { sha256: sha256('fetched') });
    assert.equal([...byUri.keys()].filter((uri) => uri.startsWith('pkg:docker/base@latest')).length, 1);
    assert.match(byUri.get('slipway:context/default')?.slipwayContent ?? '', /^[0-9a-f]{64}$/);
    assert.equal(byUri.size, 3);
    assert.ok(runDetails.metadata.startedOn <= runDetails.metadata.finishedOn);
    assert.deepEqual(
      runDetails.metadata.slipway_network.map(({ network, recorded }) => [network, recorded]),
      [
        ['none', true],
        ['default', false],
      ],
      'this runner keeps no account',
    );
    const full = await builds.build(dockerfile, { a: '1' }, { ...request, attestations: { provenance: 'max' } });
    const max = (await statementsOf(full)).statements.get('https://slsa.dev/provenance/v1')?.predicate as unknown as Provenance;
    assert.deepEqual(max.buildDefinition.externalParameters.request.args, { 'build-arg:NAME': 'written-by-hand', 'label:l': '1' });
    assert.deepEqual(max.buildDefinition.externalParameters.request.secrets, [{ id: 'token', optional: true }]);
    assert.equal(max.buildDefinition.internalParameters.buildConfig?.definition, dockerfile);
    assert.ok(max.buildDefinition.internalParameters.buildConfig?.steps.every(({ name }) => name !== 'RUN false'));
    assert.equal(full.image?.id, built.image?.id, 'what is said of an image does not make it another one');
    assert.equal(full.attestations?.[0]?.predicateType, 'https://slsa.dev/provenance/v1');
  });

  test('an SBOM lists what package databases say is installed', async () => {
    const rpm = join(builds.folder, 'rpmdb.sqlite');
    writeRpm(rpm, { name: 'bash', version: '5.2.26', release: '3.fc40', arch: 'x86_64', license: 'GPL-3.0-or-later' });
    const files = {
      'var/lib/dpkg/status': dpkgStatus,
      'var/lib/dpkg/status.d/tzdata': 'Package: tzdata\nVersion: 2025a-1\nArchitecture: all\n',
      'var/lib/dpkg/status.d/tzdata.md5sums': 'Package: no\nVersion: 1\n',
      'lib/apk/db/installed':
        'P:musl\nV:1.2.5-r9\nA:x86_64\nL:MIT\no:musl\n\nP:busybox\nV:1.37.0-r12\nA:x86_64\nL:GPL-2.0-only\no:busybox\n\n',
      'usr/lib/sysimage/rpm/rpmdb.sqlite': readFileSync(rpm),
      'app/node_modules/left-pad/package.json': '{"name":"left-pad","version":"1.3.0","license":"WTFPL"}',
      'app/node_modules/@s/p/package.json': '{"name":"@s/p","version":"2.0.0","license":"SEE LICENSE IN x"}',
      'app/node_modules/left-pad/lib/package.json': '{"name":"inner","version":"9"}',
      'app/node_modules/broken/package.json': '{',
      'usr/lib/python3/dist-packages/Foo_Bar-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.0\n\nName: body\n',
    };
    const built = await builds.build('FROM base\nCOPY . /', files, { attestations: { sbom: true } });
    const statement = (await statementsOf(built)).statements.get('https://spdx.dev/Document');
    assert.equal(statement?.subject[0]?.name, '_');
    const document = statement.predicate as Spdx;
    const urls = document.packages.flatMap(({ externalRefs = [] }) => externalRefs.map(({ referenceLocator }) => referenceLocator)).sort();
    assert.deepEqual(urls, [
      'pkg:apk/debian/busybox@1.37.0-r12?arch=x86_64&distro=debian-13',
      'pkg:apk/debian/musl@1.2.5-r9?arch=x86_64&distro=debian-13',
      'pkg:deb/debian/libc6@2.41-6%2Bb1?arch=amd64&distro=debian-13&upstream=glibc',
      'pkg:deb/debian/tzdata@2025a-1?arch=all&distro=debian-13',
      'pkg:npm/%40s/p@2.0.0',
      'pkg:npm/left-pad@1.3.0',
      'pkg:pypi/foo-bar@1.0',
      'pkg:rpm/debian/bash@5.2.26-3.fc40?arch=x86_64&distro=debian-13',
    ]);
    const licenses = new Map(document.packages.map(({ name, licenseDeclared }) => [name, licenseDeclared]));
    assert.deepEqual([licenses.get('musl'), licenses.get('@s/p'), licenses.get('bash')], ['MIT', 'NOASSERTION', 'GPL-3.0-or-later']);
    assert.equal(document.spdxVersion, 'SPDX-2.3');
    const ids = new Set(['SPDXRef-DOCUMENT', ...document.packages.map(({ SPDXID }) => SPDXID)]);
    assert.equal(ids.size, document.packages.length + 1);
    for (const { spdxElementId, relatedSpdxElement } of document.relationships)
      assert.ok(ids.has(spdxElementId) && ids.has(relatedSpdxElement));
    const again = await builds.build('FROM base\nCOPY . /', files, { attestations: { sbom: true } });
    assert.equal(again.image?.origin?.index?.digest, built.image?.origin?.index?.digest, 'nothing changed, nothing is another');
    assert.ok(again.events.some((event) => event.kind === 'vertex' && event.vertex === 'sbom' && event.state === 'cached'));
  });

  test('databases that are damaged, and links that lead nowhere, are left out', async () => {
    const files = {
      'var/lib/rpm/rpmdb.sqlite': 'SQLite format 3\0 and then something else',
      'var/lib/dpkg/status': Buffer.from([0, 1, 2, 255, 254, 10, 10, 80]),
      'lib/apk/db/installed': 'P:\nV:1\n\n:\n\n',
      'usr/bin/notgo': { text: Buffer.concat([Buffer.from('\x7fELF\x02\x01', 'latin1'), Buffer.alloc(300_000, 0xff)]), mode: 0o755 },
      'etc/os-release': { link: '../nowhere' },
    };
    const built = await builds.build('FROM scratch\nCOPY . /', files, { attestations: { sbom: true } });
    const { packages } = await spdxOf(built);
    assert.equal(packages.length, 1, 'the tree itself');
  });

  test("programs of Go tell their modules; this host's packages are those that dpkg lists", async (t) => {
    const programs = ['/usr/sbin/runc', '/usr/bin/containerd-shim-runc-v2', '/usr/bin/docker-registry', '/usr/bin/docker'].filter((file) =>
      existsSync(file),
    );
    const [go] = programs.sort((one, other) => statSync(one).size - statSync(other).size);
    if (go === undefined) return t.skip('needs a program of Go');
    const names = execFileSync('dpkg-query', ['-W', '-f', '${db:Status-Abbrev}${Package} ${Version}\n'], { encoding: 'utf8' });
    const installed = names
      .split('\n')
      .filter((line) => line.startsWith('ii '))
      .map((line) => line.slice(3).trim());
    const files = { 'usr/bin/tool': { text: readFileSync(go), mode: 0o755 }, 'var/lib/dpkg/status': readFileSync('/var/lib/dpkg/status') };
    const built = await builds.build('FROM scratch\nCOPY . /', files, { output: { kind: 'tree' }, attestations: { sbom: true } });
    const { predicate } = JSON.parse(await builds.text(built.tree.id, 'sbom.spdx.json')) as { predicate: Spdx };
    const { packages } = predicate;
    const purls = packages.flatMap(({ externalRefs = [] }) => externalRefs.map(({ referenceLocator }) => referenceLocator));
    assert.ok(
      purls.some((purl) => purl.startsWith('pkg:golang/stdlib@')),
      purls.filter((purl) => purl.startsWith('pkg:go')).join(),
    );
    const debs = packages.filter(({ externalRefs }) => externalRefs?.[0]?.referenceLocator.startsWith('pkg:deb/'));
    assert.deepEqual(debs.map(({ name, versionInfo }) => `${name} ${versionInfo}`).sort(), installed.sort());
  });

  test('a result that is files has the statements beside them', async () => {
    const built = await builds.build(
      'FROM scratch\nCOPY a /d/a',
      { a: 'text' },
      { output: { kind: 'tree' }, attestations: { provenance: 'min', sbom: true } },
    );
    const statement = JSON.parse(await builds.text(built.tree.id, 'provenance.json')) as Statement;
    assert.deepEqual(statement.subject, [{ name: 'd/a', digest: { sha256: sha256('text') } }]);
    assert.equal((JSON.parse(await builds.text(built.tree.id, 'sbom.spdx.json')) as Statement).predicateType, 'https://spdx.dev/Document');
    assert.deepEqual(
      built.attestations?.map(({ file }) => file),
      ['sbom.spdx.json', 'provenance.json'],
    );
    const plain = await builds.build('FROM scratch\nCOPY a /d/a', { a: 'text' }, { output: { kind: 'tree' } });
    assert.deepEqual(await builds.list(plain.tree.id), ['d d 755 0:0', 'f d/a 644 0:0 "text"']);
  });

  test('an archive of the image has its statements, and loads', async () => {
    const built = await builds.build('FROM base\nCOPY a /a', { a: 'saved' }, { tags: ['saved:1'], attestations: { provenance: 'min' } });
    const { index } = await statementsOf(built);
    const archives = new ArchiveService(transportParts(builds.store));
    const file = join(builds.folder, 'saved.tar');
    const pieces: Uint8Array[] = [];
    for await (const piece of archives.save(['saved:1'], { format: 'oci' })) pieces.push(piece);
    writeFileSync(file, Buffer.concat(pieces));
    const names = execFileSync('tar', ['-tf', file], { encoding: 'utf8' }).split('\n');
    for (const { digest } of index.manifests) assert.ok(names.includes(`blobs/sha256/${digest.slice(7)}`), digest);
    const [loaded] = await archives.load(file);
    assert.equal(loaded?.image.tree, built.image?.tree);
  });
});

/** A database as rpm has it: of each package one header, entries and data. */
function writeRpm(file: string, fields: { name: string; version: string; release: string; arch: string; license: string }): void {
  const tags = { name: 1000, version: 1001, release: 1002, license: 1014, arch: 1022 };
  const entries: Buffer[] = [];
  const data: Buffer[] = [];
  let offset = 0;
  for (const [key, tag] of Object.entries(tags)) {
    const value = Buffer.from(`${fields[key as keyof typeof fields]}\0`);
    const entry = Buffer.alloc(16);
    for (const [at, number] of [tag, 6, offset, 1].entries()) entry.writeUInt32BE(number, at * 4);
    entries.push(entry);
    data.push(value);
    offset += value.length;
  }
  const head = Buffer.alloc(8);
  head.writeUInt32BE(entries.length, 0);
  head.writeUInt32BE(offset, 4);
  const database = new DatabaseSync(file);
  database.exec('PRAGMA journal_mode = WAL; CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)');
  const insert = database.prepare('INSERT INTO Packages (blob) VALUES (?)');
  insert.run(Buffer.concat([head, ...entries, ...data]));
  insert.run(Buffer.from('no header'));
  database.close();
}
