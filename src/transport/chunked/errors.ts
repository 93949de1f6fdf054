import { EngineError } from '../../base/errors.ts';

/** The form is not sound, whoever made it: nothing that fetching again would mend. */
export function invalidForm(what: string, problem: string): EngineError {
  return new EngineError('InvalidArgument', 'CHUNKED_INVALID', `${what} cannot be read: ${problem}`, {
    hint: 'Push the image again with a current slipway, or pull it with --format oci.',
  });
}

export function unknownVersion(what: string, found: number | string, known: number): EngineError {
  return new EngineError('Unsupported', 'CHUNKED_VERSION', `${what} has version ${found} of its format, this engine reads ${known}`, {
    hint: 'Update slipway, or pull the image with --format oci.',
  });
}

/** Bytes came that are not what their name says. */
export function damagedContent(what: string, expected: string, read: string): EngineError {
  return new EngineError('DataLoss', 'CHUNKED_DAMAGED', `${what} is damaged: expected ${expected}, read ${read}`, {
    hint: 'Pull the image again; when it stays so, the registry holds a damaged copy: push the image again.',
  });
}

/** What a delta makes is not what it should be. Whoever takes the plain chunks can do without. */
export function invalidDelta(what: string, problem: string): EngineError {
  return new EngineError('InvalidArgument', invalidDeltaCode, `${what} is of no use: ${problem}`, {
    hint: 'Push the image again with a current slipway, or pull it with --format oci.',
  });
}

export const invalidDeltaCode = 'CHUNKED_DELTA_INVALID';

const fallbackCodes = ['CHUNKED_INVALID', 'CHUNKED_VERSION', 'FRAME_TABLE_INVALID', invalidDeltaCode];

/** Whether the ordinary manifest is to be taken instead, where there is one. Damaged content is not: the ordinary layers are the same blobs. */
export function isFallback(error: unknown): error is EngineError {
  return error instanceof EngineError && fallbackCodes.includes(error.code);
}
