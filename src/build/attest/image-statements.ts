import type { AttestationAnswer } from '../../api-types/build.ts';
import { digestOf, sha256 } from '../../oci/digest.ts';
import type { ImageConfig } from '../../oci/image.ts';
import { formatPlatform, platformOf } from '../../oci/platform.ts';
import { familiar, parseReference } from '../../oci/reference.ts';
import type { ImageRecord } from '../../store/port.ts';
import type { StatementsOf } from '../../transport/platforms/port.ts';
import { imageUrl, type Predicate, statementOf } from './model.ts';

export type Attested = { readonly config: ImageConfig; readonly image: ImageRecord | undefined; readonly predicates: readonly Predicate[] };

/** The statements about the images of a build, made when their manifests are known; `told` lists those that were made. */
export function imageStatements(
  results: readonly Attested[],
  tags: readonly string[],
): { statementsOf: StatementsOf; told: AttestationAnswer[] } {
  const told: AttestationAnswer[] = [];
  const statementsOf: StatementsOf = ({ id }, { digest: manifest }) => {
    const { config, predicates } = results.find(({ image }) => image?.id === id) ?? { config: undefined, predicates: [] };
    const platform = config === undefined ? '' : formatPlatform(platformOf(config));
    const [algorithm = '', hex = ''] = manifest.split(':');
    // BuildKit's name for what has none.
    const names = tags.length === 0 ? ['_'] : tags.map((tag) => imageUrl(familiar(parseReference(tag)), platform));
    const subject = names.map((name) => ({ name, digest: { [algorithm]: hex } }));
    return predicates.map((predicate) => {
      const bytes = statementOf(predicate, subject);
      const { predicateType } = predicate;
      told.push({ platform, predicateType, digest: digestOf(sha256(bytes)), sizeBytes: bytes.length, manifest });
      return { predicateType, bytes };
    });
  };
  return { statementsOf, told };
}

/** Those that lie in the files of a result. */
export function fileStatements(results: readonly Attested[]): AttestationAnswer[] {
  return results.flatMap(({ config, predicates }) =>
    predicates.map(({ predicateType, filename }) => ({ platform: formatPlatform(platformOf(config)), predicateType, file: filename })),
  );
}
