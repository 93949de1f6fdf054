/** What is said of a result, without the result: a statement's predicate (in-toto Attestation Framework v1, "Predicate"). */
export type Predicate = {
  readonly predicateType: string;
  /** The file's name where the result is files: `provenance.json`, as BuildKit has it. */
  readonly filename: string;
  /** The predicate as JSON: it may be large, and was made where that does no harm. */
  readonly json: string;
};

/** What a statement is of: an image's manifest by its digest, or a file by its name. */
export type Subject = { readonly name: string; readonly digest: Readonly<Record<string, string>> };

export const provenanceType = 'https://slsa.dev/provenance/v1';
export const spdxType = 'https://spdx.dev/Document';

/** In-toto Statement v1: https://in-toto.io/Statement/v1. */
export function statementOf({ predicateType, json }: Predicate, subject: readonly Subject[]): Buffer {
  const head = JSON.stringify({ _type: 'https://in-toto.io/Statement/v1', predicateType, subject });
  return Buffer.from(`${head.slice(0, -1)},"predicate":${json}}`);
}

/** The package URL (purl-spec, type docker) by which BuildKit names images. `name`: familiar, with its tag. */
export function imageUrl(name: string, platform: string): string {
  const at = name.lastIndexOf(':');
  const tagged = at > name.lastIndexOf('/');
  const [path, version] = tagged ? [name.slice(0, at), name.slice(at + 1)] : [name, 'latest'];
  return `pkg:docker/${path.split('/').map(encodeURIComponent).join('/')}@${encodeURIComponent(version)}?platform=${encodeURIComponent(platform)}`;
}
