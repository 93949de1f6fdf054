import { EngineError } from '../../base/errors.ts';
import type { Repository } from '../registry/port.ts';

/** The registry's client knows a blob by its digest only; whoever pulls knows of which image it is. `what`: "layer 2 of web:1". */
export function namedAsDamaged(error: unknown, what: string, { name }: Repository): unknown {
  if (!(error instanceof EngineError) || error.code !== 'BLOB_DIGEST_MISMATCH') return error;
  return new EngineError(error.kind, error.code, `${what} from ${name} is damaged: ${error.message}`, {
    hint: 'Pull again: what came well stays here. When it is so again, the registry holds a damaged copy: push the image anew.',
    cause: error,
  });
}
