import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { MutualTls } from '../api/server.ts';
import { EngineError, isErrno } from '../base/errors.ts';
import type { DaemonConfig } from './config.ts';

type Files = NonNullable<DaemonConfig['tls']>;

/** Reads the three files and sees that they fit together. InvalidArgument `TLS_INVALID` names the one that does not serve. */
export function readCertificates(files: Files): MutualTls {
  const tls = { ca: readPem('tls.ca', files.ca), cert: readPem('tls.cert', files.cert), key: readPem('tls.key', files.key) };
  if ((statSync(files.key).mode & 0o007) !== 0) {
    throw refused(`everybody on this host may use tls.key (${files.key})`, { hint: `chmod 600 ${files.key}` });
  }
  try {
    createSecureContext({ ...tls, minVersion: 'TLSv1.2' });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw refused(`the files of [tls] (${Object.values(files).join(', ')}) do not serve: ${why}`, {
      hint: 'Each must be PEM, and tls.key the private key of tls.cert. packaging/README.md shows how to make them.',
      cause,
    });
  }
  return tls;
}

function readPem(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const why = isErrno(cause, 'ENOENT') ? 'there is no such file' : String(cause);
    throw refused(`cannot read ${name} (${path}): ${why}`, { hint: 'packaging/README.md shows how to make certificates.', cause });
  }
}

function refused(message: string, options: { hint: string; cause?: unknown }): EngineError {
  return new EngineError('InvalidArgument', 'TLS_INVALID', message, options);
}
