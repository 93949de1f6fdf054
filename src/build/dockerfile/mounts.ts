import { suggestion } from '../../base/nearest.ts';
import type { Location, Source } from './source.ts';
import type { MountFlag } from './syntax.ts';

/** RUN --mount, its options read but nothing resolved. */
export type MountOptions = {
  readonly location: Location;
  readonly type: 'bind' | 'cache' | 'tmpfs' | 'secret' | 'ssh';
  readonly from?: string | undefined;
  readonly source?: string | undefined;
  readonly target?: string | undefined;
  readonly readOnly: boolean;
  readonly id?: string | undefined;
  readonly sharing: 'shared' | 'private' | 'locked';
  readonly required: boolean;
  readonly sizeBytes?: number | undefined;
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly env?: string | undefined;
};

const types = ['bind', 'cache', 'tmpfs', 'secret', 'ssh'] as const;
const sharings = ['shared', 'private', 'locked'] as const;
/** Every key, the long spelling of each short one. */
const keys: Record<string, string> = {
  type: 'type',
  from: 'from',
  source: 'source',
  src: 'source',
  target: 'target',
  dst: 'target',
  destination: 'target',
  readonly: 'readonly',
  ro: 'readonly',
  readwrite: 'readwrite',
  rw: 'readwrite',
  id: 'id',
  sharing: 'sharing',
  required: 'required',
  size: 'size',
  mode: 'mode',
  uid: 'uid',
  gid: 'gid',
  env: 'env',
};
const flagKeys = ['readonly', 'readwrite', 'required'];
const allowed: Record<MountOptions['type'], readonly string[]> = {
  bind: [],
  cache: ['sharing', 'mode', 'uid', 'gid'],
  tmpfs: ['size'],
  secret: ['required', 'mode', 'uid', 'gid', 'env'],
  ssh: ['required', 'mode', 'uid', 'gid'],
};

/** Reads the comma-separated `key=value` list. `expandValue` replaces variables; `from` takes none. */
export function parseMount(source: Source, flag: MountFlag, expandValue: (value: string) => string): MountOptions {
  const fail = (message: string, hint?: string) => source.invalid('MOUNT_INVALID', flag.location, `--mount=${flag.text}: ${message}`, hint);
  const options = new Map<string, string>();
  for (const field of splitFields(flag.text)) {
    const equals = field.indexOf('=');
    const written = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    const key = Object.hasOwn(keys, written) ? keys[written] : undefined;
    if (key === undefined) throw fail(`there is no option ${written}`, suggestion(written, Object.keys(keys)));
    if (equals < 0 && !flagKeys.includes(key)) throw fail(`${written} needs a value`);
    const value = equals < 0 ? 'true' : field.slice(equals + 1);
    if (key === 'from' && /\$./.test(value))
      throw fail('from takes no variables', 'Define a stage with FROM $VARIABLE AS name and mount from that.');
    options.set(key, key === 'from' ? value : expandValue(value));
  }
  const pick = <T extends string>(key: string, choices: readonly T[], fallback: T): T => {
    const value = options.get(key)?.toLowerCase();
    if (value === undefined) return fallback;
    const chosen = choices.find((choice) => choice === value);
    if (chosen === undefined) throw fail(`${key} is one of ${choices.join(', ')}`, suggestion(value, choices));
    return chosen;
  };
  const number = (key: string, pattern: RegExp, base: number): number | undefined => {
    const value = options.get(key);
    if (value === undefined) return undefined;
    if (!pattern.test(value)) throw fail(`${JSON.stringify(value)} is not a ${key}`);
    return Number.parseInt(value, base);
  };
  const boolean = (key: string): boolean | undefined => {
    const value = options.get(key)?.toLowerCase();
    if (value === undefined) return undefined;
    if (['true', '1', 't'].includes(value)) return true;
    if (['false', '0', 'f'].includes(value)) return false;
    throw fail(`${key} takes true or false`);
  };
  const type = pick('type', types, 'bind');
  const restricted = Object.values(allowed).flat();
  for (const key of options.keys()) {
    if (restricted.includes(key) && !allowed[type].includes(key)) throw fail(`${key} does not belong to a ${type} mount`);
  }
  if (type === 'secret') {
    if (options.has('from')) throw fail('from does not belong to a secret mount');
    if (options.has('source') && options.has('id')) throw fail('source and id of a secret are the same; give one of them');
    if (!options.get('source') && !options.get('id') && !options.get('target')) throw fail('a secret mount needs an id or a target');
  }
  if (type === 'ssh' && options.has('source')) throw fail('source does not belong to an ssh mount', 'Name the agent with id=.');
  const readWrite = boolean('readwrite');
  return {
    location: flag.location,
    type,
    from: options.get('from'),
    source: options.get('source'),
    target: options.get('target'),
    readOnly: boolean('readonly') ?? (readWrite === undefined ? type !== 'cache' && type !== 'tmpfs' : !readWrite),
    id: options.get('id'),
    sharing: pick('sharing', sharings, 'shared'),
    required: boolean('required') ?? false,
    sizeBytes: sizeBytes(options.get('size'), fail),
    mode: number('mode', /^[0-7]{1,5}$/, 8),
    uid: number('uid', /^\d{1,9}$/, 10),
    gid: number('gid', /^\d{1,9}$/, 10),
    env: options.get('env'),
  };
}

function sizeBytes(text: string | undefined, fail: (message: string) => Error): number | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d{1,12})([kmgt]?)i?b?$/i.exec(text);
  if (match === null) throw fail(`${JSON.stringify(text)} is not a size`);
  return Number(match[1]) * 1024 ** ' kmgt'.indexOf((match[2] || ' ').toLowerCase());
}

/** Comma-separated fields, quoted as in CSV: `"a,b=c"`. */
function splitFields(text: string): string[] {
  return Array.from(text.matchAll(/"((?:[^"]|"")*)"|([^,]+)/g), (match) => match[1]?.replaceAll('""', '"') ?? match[2] ?? '').filter(
    (field) => field !== '',
  );
}
