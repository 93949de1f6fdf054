import { EngineError } from '../base/errors.ts';

const pattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const limitBytes = 255;

/** Docker's rule. A name is a folder's: nothing else may come near the file system. */
export function isVolumeName(name: string): boolean {
  return pattern.test(name) && name.length <= limitBytes;
}

/** InvalidArgument `VOLUME_NAME_INVALID`, in Docker's words. */
export function checkVolumeName(name: string): void {
  if (isVolumeName(name)) return;
  const fail = (why: string) =>
    new EngineError('InvalidArgument', 'VOLUME_NAME_INVALID', `create ${name}: ${why}`, {
      hint: 'To mount a host folder, give its absolute path.',
    });
  if (/^[a-zA-Z0-9]?$/.test(name)) throw fail('volume name is too short, names should be at least two alphanumeric characters');
  if (name.length > limitBytes) throw fail(`volume name is too long, names should be at most ${limitBytes} characters`);
  throw fail(
    `"${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
  );
}

export function volumeNotFound(name: string): EngineError {
  return new EngineError('NotFound', 'VOLUME_NOT_FOUND', `get ${name}: no such volume`, {
    hint: 'Run "slipway volume ls" to see what there is.',
  });
}
