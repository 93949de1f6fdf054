import { resolve } from 'node:path';
import { list, usageError } from '../flags.ts';
import { cut } from '../parse/key-values.ts';

export const cacheFlags = {
  'cache-from': list(
    'A cache to take results of steps from: type=local,src=DIR, type=registry,ref=NAME or NAME, type=s3,bucket=…,region=…',
    {
      value: 'CACHE',
    },
  ),
  'cache-to': list('Where to keep results of steps for other hosts: type=local,dest=DIR[,mode=max], type=registry,ref=NAME, type=s3,…', {
    value: 'CACHE',
  }),
};

type CacheFlags = { readonly 'cache-from': readonly string[]; readonly 'cache-to': readonly string[] };

/** Attributes of caches as the daemon takes them, with paths made absolute and with credentials of the environment. Undefined when none is asked for. */
export function cacheInputs(flags: CacheFlags, env: NodeJS.ProcessEnv) {
  if (flags['cache-from'].length + flags['cache-to'].length === 0) return undefined;
  return {
    from: flags['cache-from'].map((text) => attributesOf(text, '--cache-from', env)),
    to: flags['cache-to'].map((text) => attributesOf(text, '--cache-to', env)),
  };
}

/** `key=value,…` as docker has it; a word without `=` is a reference. */
function attributesOf(text: string, flag: string, env: NodeJS.ProcessEnv): Record<string, string> {
  const fields = splitCsv(text, flag);
  const [only] = fields;
  if (fields.length === 1 && only !== undefined && !only.includes('=')) return { type: 'registry', ref: only };
  const attributes: Record<string, string> = {};
  for (const field of fields) {
    const [key, value] = cut(field);
    if (value === undefined || key === '')
      throw usageError(`invalid ${flag} ${JSON.stringify(text)}: ${JSON.stringify(field)} is not KEY=VALUE`);
    attributes[key] = value;
  }
  for (const name of ['src', 'dest'])
    if (attributes[name] !== undefined && attributes[name] !== '') attributes[name] = resolve(attributes[name]);
  return attributes.type === 's3' ? { ...credentialsOf(attributes, env), ...attributes } : attributes;
}

/** The client's own credentials, where none are given: the daemon's host may be another. */
function credentialsOf(attributes: Readonly<Record<string, string>>, env: NodeJS.ProcessEnv): Record<string, string> {
  const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret, AWS_SESSION_TOKEN: token, AWS_REGION: region } = env;
  const place = region === undefined ? {} : { region };
  if (attributes.access_key_id !== undefined || id === undefined || secret === undefined) return place;
  return { ...place, access_key_id: id, secret_access_key: secret, ...(token === undefined ? {} : { session_token: token }) };
}

/** Fields with commas in them stand in double quotes, quotes are doubled. */
function splitCsv(text: string, flag: string): string[] {
  const fields = text.match(/(?:^|,)(?:"(?:[^"]|"")*"|[^",][^,]*|)/g) ?? [];
  if (fields.join('') !== text || text === '') throw usageError(`invalid ${flag} ${JSON.stringify(text)}`);
  return fields.map((field, index) => {
    const bare = index === 0 ? field : field.slice(1);
    return bare.startsWith('"') ? bare.slice(1, -1).replaceAll('""', '"') : bare;
  });
}
