import { EngineError } from '../../base/errors.ts';
import type { HttpAnswer } from './answer.ts';
import { markPassing, mayPass, noteRetryAfter } from './retry.ts';

/** What was asked for, for errors. `name` is the repository in its short form, as Docker shows it. */
export type Asked = {
  readonly name: string;
  readonly host: string;
  readonly action: 'pull' | 'push';
  /** `web:2` or `web@sha256:…`, and `sha256:…`. */
  readonly subject: { kind: 'manifest'; reference: string } | { kind: 'blob'; digest: string } | { kind: 'repository' };
};

/** More than any registry's error has. */
const maxErrorBytes = 64 * 1024;
const maxMessageLength = 500;

type RegistryError = { code: string; message: string };

/** The registry's own account of what is wrong, where it gives one: `{"errors": [{"code": "DENIED", "message": "…"}]}`. */
export function parseRegistryError(body: Buffer): RegistryError | undefined {
  try {
    const json: unknown = JSON.parse(body.toString('utf8'));
    const list = typeof json === 'object' && json !== null && 'errors' in json ? json.errors : undefined;
    const first: unknown = Array.isArray(list) ? list[0] : undefined;
    if (typeof first !== 'object' || first === null) return undefined;
    const code = 'code' in first && typeof first.code === 'string' ? first.code : '';
    const message = 'message' in first && typeof first.message === 'string' ? first.message : '';
    return code === '' && message === ''
      ? undefined
      : { code: clean(code).slice(0, 100), message: clean(message).slice(0, maxMessageLength) };
  } catch {
    return undefined;
  }
}

/** What a registry says ends up in terminals and logs. */
function clean(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ');
}

/** As Go's registry client words an error: `manifest unknown: manifest unknown`. */
function words({ code, message }: RegistryError): string {
  const name = code.toLowerCase().replaceAll('_', ' ');
  return name === '' || message === '' ? name + message : `${name}: ${message}`;
}

/** An answer that is not what was hoped for, as an error. Reads the answer's body. */
export async function failureOf(answer: HttpAnswer, asked: Asked): Promise<EngineError> {
  let body: Buffer = Buffer.alloc(0);
  try {
    body = await answer.read(maxErrorBytes);
  } catch {
    // Its status says enough.
  }
  const own = parseRegistryError(body);
  const error = describe(answer, own, asked);
  noteRetryAfter(error, answer.headers['retry-after']);
  return mayPass(answer.status) ? markPassing(error) : error;
}

function describe({ status, reason }: HttpAnswer, own: RegistryError | undefined, asked: Asked): EngineError {
  const { name, subject } = asked;
  if (status === 401 || status === 403) {
    const isLater = subject.kind === 'blob' && asked.action === 'pull';
    return isLater ? deniedBlob(status, own, asked, subject.digest) : denied(status, own, asked);
  }
  if (status === 429 || own?.code === 'TOOMANYREQUESTS') {
    const text = words(own ?? { code: 'TOOMANYREQUESTS', message: 'too many requests' });
    return new EngineError('Unavailable', 'RATE_LIMITED', `${name}: ${text}`, {
      hint: 'The registry limits how often it is asked. Log in, wait, or configure a mirror for it.',
    });
  }
  if (status < 500) {
    if (own?.code === 'MANIFEST_BLOB_UNKNOWN') return new EngineError('NotFound', 'BLOB_UNKNOWN', `${name}: ${words(own)}`);
    if (own?.code === 'DIGEST_INVALID' && subject.kind === 'blob') {
      return new EngineError('DataLoss', 'BLOB_DIGEST_MISMATCH', `${subject.digest} did not arrive at ${name} as it is: ${words(own)}`);
    }
    if (status === 404) return notFound(own, asked);
    const text = own === undefined ? '' : `: ${words(own)}`;
    if (status === 405 || status === 501 || own?.code === 'UNSUPPORTED') {
      return new EngineError('Unsupported', 'REGISTRY_UNSUPPORTED', `${name}: ${asked.host} does not do this (${status} ${reason})${text}`);
    }
    return new EngineError(
      'InvalidArgument',
      'REGISTRY_REFUSED',
      `${describeSubject(asked)}: ${asked.host} answered ${status} ${reason}${text}`,
    );
  }
  const text = own === undefined ? '' : `: ${words(own)}`;
  return new EngineError('Unavailable', 'REGISTRY_FAILED', `${describeSubject(asked)}: ${asked.host} answered ${status} ${reason}${text}`);
}

function describeSubject({ name, subject }: Asked): string {
  if (subject.kind === 'manifest') return subject.reference;
  return subject.kind === 'blob' ? `${subject.digest} of ${name}` : name;
}

/** In the middle of a pull: its manifests could be read before. */
function deniedBlob(status: number, own: RegistryError | undefined, { name, host }: Asked, digest: string): EngineError {
  const text = words(own ?? { code: status === 401 ? 'UNAUTHORIZED' : 'DENIED', message: 'the registry gives no reason' });
  const message = `${host} gave the manifest of ${name} but does not give blob ${digest} of it: ${text}`;
  return new EngineError('Denied', status === 401 ? 'UNAUTHORIZED' : 'DENIED', message, {
    hint: `The credentials may have ended meanwhile. Log in with "slipway login ${host}" and pull again: it goes on from what is here.`,
  });
}

/** Docker's words: clients look for them. A registry that hides what one may not see says "denied" for what is not there too. */
export function denied(status: number, own: RegistryError | undefined, { name, host, action }: Omit<Asked, 'subject'>): EngineError {
  const unauthorized = status === 401;
  const text = words(
    own ??
      (unauthorized
        ? { code: 'UNAUTHORIZED', message: 'authentication required' }
        : { code: 'DENIED', message: 'requested access to the resource is denied' }),
  );
  const message =
    action === 'pull'
      ? `pull access denied for ${name}, repository does not exist or may require 'docker login': ${text}`
      : `push access denied for ${name}: ${text}`;
  return new EngineError('Denied', unauthorized ? 'UNAUTHORIZED' : 'DENIED', message, {
    hint: `Check the name, and log in with "slipway login ${host}" if it is private.`,
  });
}

function notFound(own: RegistryError | undefined, { name, subject }: Asked): EngineError {
  if (own?.code === 'NAME_UNKNOWN' || subject.kind === 'repository') {
    const text = words(own ?? { code: 'NAME_UNKNOWN', message: 'repository name not known to registry' });
    return new EngineError('NotFound', 'REPOSITORY_UNKNOWN', `repository ${name} not found: ${text}`);
  }
  if (subject.kind === 'manifest') {
    const text = words(own ?? { code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' });
    return new EngineError('NotFound', 'MANIFEST_UNKNOWN', `manifest for ${subject.reference} not found: ${text}`);
  }
  const text = words(own ?? { code: 'BLOB_UNKNOWN', message: 'blob unknown to registry' });
  return new EngineError('NotFound', 'BLOB_UNKNOWN', `blob ${subject.digest} of ${name} not found: ${text}`);
}
