import { setFlagsFromString } from 'node:v8';

/** Longer ones are no names that anybody looks for. */
const maxLength = 1000;

let enabled = false;

/**
 * A client's regular expression, run by the engine of V8 that takes linear time whatever the pattern (Docker's too is linear): nobody stops the
 * daemon with `(a+)+$`. Undefined for what is no pattern or needs backtracking; Docker takes such text literally.
 */
export function linearPattern(text: string): RegExp | undefined {
  if (text.length > maxLength) return undefined;
  if (!enabled) setFlagsFromString('--enable-experimental-regexp-engine');
  enabled = true;
  try {
    return new RegExp(text, 'l');
  } catch {
    return undefined;
  }
}
