import { resolve } from 'node:path';
import type { Mount } from '../../api-types/container.ts';
import { usageError } from '../flags.ts';
import { parseBytes } from './units.ts';

export type VolumeFlags = { binds: string[]; anonymous: Record<string, Record<string, never>> };

/**
 * Docker's `-v`: `SOURCE:TARGET[:MODE]` is a bind (a path, or the name of a volume), `TARGET` alone an anonymous volume. A source that starts with a dot is taken
 * from the current folder. Modes are checked by the daemon, which knows them.
 */
export function parseVolumes(specs: readonly string[]): VolumeFlags {
  const volumes: VolumeFlags = { binds: [], anonymous: {} };
  for (const spec of specs) {
    const parts = spec.split(':');
    const [source = '', target] = parts;
    if (parts.length > 3 || source === '' || target === '') {
      throw usageError(`invalid volume "${spec}"`, 'Volumes look like /host/path:/in/container[:ro], NAME:/in/container or /in/container.');
    }
    if (target === undefined) volumes.anonymous[source] = {};
    else volumes.binds.push([source.startsWith('.') ? resolve(source) : source, ...parts.slice(1)].join(':'));
  }
  return volumes;
}

/** Docker's `--tmpfs PATH[:OPTIONS]`. */
export function parseTmpfs(specs: readonly string[]): Record<string, string> {
  const tmpfs: Record<string, string> = {};
  for (const spec of specs) {
    const colon = spec.indexOf(':');
    tmpfs[colon < 0 ? spec : spec.slice(0, colon)] = colon < 0 ? '' : spec.slice(colon + 1);
  }
  return tmpfs;
}

/** Docker's `--mount type=bind,source=…,target=…,…` (comma-separated values; a field with a comma goes in quotes). */
export function parseMount(spec: string): Mount {
  const mount: Mount = { Type: 'volume', Target: '' };
  for (const field of splitFields(spec)) {
    const equals = field.indexOf('=');
    const key = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    setField(mount, key, equals < 0 ? undefined : field.slice(equals + 1), spec);
  }
  if (mount.Target === '') throw invalid(spec, 'it has no target');
  checkKind(mount, spec);
  return mount;
}

function setField(mount: Mount, key: string, value: string | undefined, spec: string): void {
  const bare = mountSwitches[key];
  if (bare !== undefined) {
    bare(mount, parseSwitch(value, key, spec));
    return;
  }
  const setter = mountFields[key];
  if (setter === undefined) throw invalid(spec, `unknown field ${JSON.stringify(key)}`);
  if (value === undefined) throw invalid(spec, `the field ${key} needs a value`);
  setter(mount, value, spec);
}

/** Fields that may stand without a value. */
const mountSwitches: Record<string, (mount: Mount, on: boolean) => void> = {
  readonly: setReadOnly,
  ro: setReadOnly,
  'bind-nonrecursive': (mount, on) => {
    mount.BindOptions = { ...mount.BindOptions, NonRecursive: on };
  },
  'bind-create-src': (mount, on) => {
    mount.BindOptions = { ...mount.BindOptions, CreateMountpoint: on };
  },
  'volume-nocopy': (mount, on) => {
    mount.VolumeOptions = { ...mount.VolumeOptions, NoCopy: on };
  },
};

function setReadOnly(mount: Mount, on: boolean): void {
  mount.ReadOnly = on;
}

const mountFields: Record<string, (mount: Mount, value: string, spec: string) => void> = {
  type: (mount, value, spec) => {
    const type = value.toLowerCase();
    if (type !== 'bind' && type !== 'volume' && type !== 'tmpfs' && type !== 'image')
      throw invalid(spec, `the type must be bind, volume, tmpfs or image, not ${value}`);
    mount.Type = type;
  },
  source: setSource,
  src: setSource,
  target: setTarget,
  destination: setTarget,
  dst: setTarget,
  consistency: (mount, value) => {
    mount.Consistency = value;
  },
  'bind-propagation': (mount, value) => {
    mount.BindOptions = { ...mount.BindOptions, Propagation: value };
  },
  'bind-recursive': (mount, value, spec) => {
    const modes: Record<string, Mount['BindOptions']> = {
      enabled: {},
      disabled: { NonRecursive: true },
      writable: { ReadOnlyNonRecursive: true },
      readonly: { ReadOnlyForceRecursive: true },
    };
    if (!Object.hasOwn(modes, value)) throw invalid(spec, `bind-recursive must be enabled, disabled, writable or readonly, not ${value}`);
    mount.BindOptions = { ...mount.BindOptions, ...modes[value] };
  },
  'image-subpath': (mount, value) => {
    mount.ImageOptions = { ...mount.ImageOptions, Subpath: value };
  },
  'volume-subpath': (mount, value) => {
    mount.VolumeOptions = { ...mount.VolumeOptions, Subpath: value };
  },
  'volume-label': (mount, value) => {
    const [name = '', ...rest] = value.split('=');
    mount.VolumeOptions = { ...mount.VolumeOptions, Labels: { ...mount.VolumeOptions?.Labels, [name]: rest.join('=') } };
  },
  'volume-driver': (mount, value) => {
    const driver = mount.VolumeOptions?.DriverConfig;
    mount.VolumeOptions = { ...mount.VolumeOptions, DriverConfig: { ...driver, Name: value } };
  },
  'volume-opt': (mount, value) => {
    const driver = mount.VolumeOptions?.DriverConfig;
    const [name = '', ...rest] = value.split('=');
    mount.VolumeOptions = { ...mount.VolumeOptions, DriverConfig: { ...driver, Options: { ...driver?.Options, [name]: rest.join('=') } } };
  },
  'tmpfs-size': (mount, value) => {
    mount.TmpfsOptions = { ...mount.TmpfsOptions, SizeBytes: parseBytes(value, '--mount tmpfs-size') };
  },
  'tmpfs-mode': (mount, value, spec) => {
    if (!/^[0-7]{1,5}$/.test(value)) throw invalid(spec, `tmpfs-mode must be octal, not ${value}`);
    mount.TmpfsOptions = { ...mount.TmpfsOptions, Mode: Number.parseInt(value, 8) };
  },
};

function setSource(mount: Mount, value: string): void {
  mount.Source = value.startsWith('.') ? resolve(value) : value;
}

function setTarget(mount: Mount, value: string): void {
  mount.Target = value;
}

function checkKind(mount: Mount, spec: string): void {
  if (mount.Type === 'bind' && mount.Source === undefined) throw invalid(spec, 'a bind needs a source');
  if (mount.Type === 'tmpfs' && mount.Source !== undefined) throw invalid(spec, 'a tmpfs has no source');
  if (mount.BindOptions !== undefined && mount.Type !== 'bind') throw invalid(spec, `bind-… fields do not go with type=${mount.Type}`);
  if (mount.VolumeOptions !== undefined && mount.Type !== 'volume')
    throw invalid(spec, `volume-… fields do not go with type=${mount.Type}`);
  const { ReadOnlyNonRecursive: writable, ReadOnlyForceRecursive: forced, Propagation: propagation } = mount.BindOptions ?? {};
  if ((writable || forced) && !mount.ReadOnly) throw invalid(spec, 'bind-recursive=writable and =readonly go with readonly');
  if (forced && propagation !== 'rprivate') throw invalid(spec, 'bind-recursive=readonly goes with bind-propagation=rprivate');
  if (mount.Type === 'image' && mount.Source === undefined) throw invalid(spec, 'an image mount needs a source');
  if (mount.ImageOptions !== undefined && mount.Type !== 'image') throw invalid(spec, `image-… fields do not go with type=${mount.Type}`);
  if (mount.TmpfsOptions !== undefined && mount.Type !== 'tmpfs') throw invalid(spec, `tmpfs-… fields do not go with type=${mount.Type}`);
}

function parseSwitch(value: string | undefined, key: string, spec: string): boolean {
  if (value === undefined || value === '1' || value === 'true') return true;
  if (value === '0' || value === 'false') return false;
  throw invalid(spec, `${key} must be true or false, not ${value}`);
}

/** One line of comma-separated values (RFC 4180): `a,"b,c","d ""e"""`. */
export function splitFields(text: string): string[] {
  const fields: string[] = [];
  const pattern = /(?:^|,)(?:"((?:[^"]|"")*)"(?=,|$)|([^,]*))/g;
  for (const [, quoted, plain] of text.matchAll(pattern)) fields.push(quoted === undefined ? (plain ?? '') : quoted.replaceAll('""', '"'));
  return fields;
}

function invalid(spec: string, why: string) {
  return usageError(`invalid mount "${spec}": ${why}`, 'Mounts look like type=bind,source=/host/path,target=/in/container,readonly.');
}
