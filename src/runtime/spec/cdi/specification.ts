import { EngineError } from '../../../base/errors.ts';
import { type HookName, hookNames, type IntelRdt } from '../types.ts';

/** A Container Device Interface specification (cncf/container-device-interface, SPEC.md, versions 0.3 to 1.1). */
export type CdiSpecification = {
  /** `vendor/class`. */
  kind: string;
  devices: { name: string; edits: ContainerEdits }[];
  /** Made once when any of its devices is given. */
  edits: ContainerEdits;
};

export type ContainerEdits = {
  env: string[];
  deviceNodes: DeviceNode[];
  netDevices: { hostInterfaceName: string; name: string }[];
  mounts: { hostPath: string; containerPath: string; type?: string; options: string[] }[];
  hooks: { hookName: HookName; path: string; args?: string[]; env?: string[]; timeout?: number }[];
  intelRdt?: IntelRdt;
  additionalGids: number[];
};

export type DeviceNode = {
  path: string;
  hostPath?: string;
  type?: 'b' | 'c' | 'u' | 'p';
  major?: number;
  minor?: number;
  fileMode?: number;
  permissions?: string;
  uid?: number;
  gid?: number;
};

const versions = ['0.3.0', '0.4.0', '0.5.0', '0.6.0', '0.7.0', '0.8.0', '1.0.0', '1.1.0'];

/** Reads one from parsed JSON or YAML. InvalidArgument `CDI_INVALID` names the place. */
export function readCdiSpecification(value: unknown): CdiSpecification {
  const top = new Fields(value, 'specification');
  const version = top.text('cdiVersion') ?? '';
  if (!versions.includes(version)) throw invalid(`invalid version ${JSON.stringify(version)}`);
  const kind = top.text('kind') ?? '';
  if (!isKind(kind)) throw invalid(`invalid kind ${JSON.stringify(kind)}: it is not VENDOR/CLASS`);
  top.object('annotations');
  const edits = readEdits(top.object('containerEdits'), 'containerEdits');
  const devices = top.list('devices').map((device, index) => readDevice(device, `devices[${index}]`));
  top.done();
  if (devices.length === 0) throw invalid('it has no devices');
  const twice = devices.find(({ name }, index) => devices.findIndex((other) => other.name === name) !== index);
  if (twice) throw invalid(`the device ${JSON.stringify(twice.name)} is there twice`);
  requireVersion(value, version);
  return { kind, devices, edits };
}

function readDevice(value: unknown, place: string): CdiSpecification['devices'][number] {
  const fields = new Fields(value, place);
  const name = fields.text('name') ?? '';
  if (!isDeviceName(name)) throw invalid(`${place}: invalid device name ${JSON.stringify(name)}`);
  fields.object('annotations');
  const given = fields.object('containerEdits');
  fields.done();
  if (given === undefined || Object.keys(given).length === 0) throw invalid(`${place}: the device ${name} has no containerEdits`);
  return { name, edits: readEdits(given, `${place}.containerEdits`) };
}

function readEdits(value: Record<string, unknown> | undefined, place: string): ContainerEdits {
  const fields = new Fields(value ?? {}, place);
  const env = fields.texts('env') ?? [];
  const wrong = env.find((entry) => entry.indexOf('=') <= 0);
  if (wrong !== undefined) throw invalid(`${place}: invalid environment variable ${JSON.stringify(wrong)}`);
  const each = <T>(name: string, read: (fields: Fields) => T) =>
    fields.list(name).map((item, index) => {
      const inner = new Fields(item, `${place}.${name}[${index}]`);
      const result = read(inner);
      inner.done();
      return result;
    });
  const edits: ContainerEdits = {
    env,
    deviceNodes: each('deviceNodes', readDeviceNode),
    netDevices: each('netDevices', (item) => ({ hostInterfaceName: item.required('hostInterfaceName'), name: item.required('name') })),
    mounts: each('mounts', readMount),
    hooks: each('hooks', readHook),
    additionalGids: fields.numbers('additionalGids'),
  };
  const rdt = fields.object('intelRdt');
  if (rdt) edits.intelRdt = readIntelRdt(rdt, `${place}.intelRdt`);
  fields.done();
  return edits;
}

function readDeviceNode(fields: Fields): DeviceNode {
  const node = {
    path: fields.required('path'),
    hostPath: fields.text('hostPath'),
    type: fields.text('type') as DeviceNode['type'],
    major: fields.number('major'),
    minor: fields.number('minor'),
    fileMode: fields.number('fileMode'),
    permissions: fields.text('permissions'),
    uid: fields.number('uid'),
    gid: fields.number('gid'),
  };
  if (node.type && !['b', 'c', 'u', 'p'].includes(node.type)) throw fields.wrong(`invalid type ${JSON.stringify(node.type)}`);
  if (node.permissions && !/^[rwm]+$/.test(node.permissions)) throw fields.wrong(`invalid permissions ${JSON.stringify(node.permissions)}`);
  return given(node) as DeviceNode;
}

function readMount(fields: Fields): ContainerEdits['mounts'][number] {
  const mount = {
    hostPath: fields.required('hostPath'),
    containerPath: fields.required('containerPath'),
    type: fields.text('type'),
    options: fields.texts('options') ?? [],
  };
  return given(mount) as ContainerEdits['mounts'][number];
}

function readHook(fields: Fields): ContainerEdits['hooks'][number] {
  const hookName = fields.required('hookName') as HookName;
  if (!hookNames.includes(hookName)) throw fields.wrong(`invalid hook name ${JSON.stringify(hookName)}`);
  const hook = {
    hookName,
    path: fields.required('path'),
    args: fields.texts('args'),
    env: fields.texts('env'),
    timeout: fields.number('timeout'),
  };
  return given(hook) as ContainerEdits['hooks'][number];
}

function readIntelRdt(value: Record<string, unknown>, place: string): IntelRdt {
  const fields = new Fields(value, place);
  const rdt = {
    closID: fields.text('closID'),
    l3CacheSchema: fields.text('l3CacheSchema'),
    memBwSchema: fields.text('memBwSchema'),
    schemata: fields.texts('schemata'),
    enableMonitoring: fields.boolean('enableMonitoring'),
  };
  fields.done();
  if (rdt.closID !== undefined && (/[/\n]/.test(rdt.closID) || ['.', '..'].includes(rdt.closID) || rdt.closID.length >= 4096))
    throw invalid(`${place}: invalid ClosID`);
  return given(rdt);
}

/** Without what is undefined. */
function given<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** A specification says the version that brought what it uses. */
function requireVersion(value: unknown, version: string): void {
  const { containerEdits, devices, annotations, kind } = value as {
    containerEdits?: Edited;
    devices: { name: string; annotations?: object; containerEdits?: Edited }[];
    annotations?: object;
    kind: string;
  };
  const all = [containerEdits, ...devices.map((device) => device.containerEdits)].filter((each) => each !== undefined && each !== null);
  const needed = [
    ['1.1.0', all.some((edits) => edits.netDevices?.length || edits.intelRdt?.schemata || edits.intelRdt?.enableMonitoring)],
    ['0.7.0', all.some((edits) => edits.intelRdt || edits.additionalGids?.length)],
    [
      '0.6.0',
      [annotations, ...devices.map((device) => device.annotations)].some((each) => Object.keys(each ?? {}).length > 0) ||
        (kind.split('/')[1] ?? '').includes('.'),
    ],
    ['0.5.0', devices.some(({ name }) => /^\d/.test(name)) || all.some((edits) => edits.deviceNodes?.some(({ hostPath }) => hostPath))],
    ['0.4.0', all.some((edits) => edits.mounts?.some(({ type }) => type))],
  ] as const;
  const least = needed.find(([, uses]) => uses)?.[0];
  if (least !== undefined && versions.indexOf(least) > versions.indexOf(version))
    throw invalid(`the spec version must be at least v${least}`);
}
type Edited = {
  netDevices?: unknown[];
  intelRdt?: { schemata?: unknown; enableMonitoring?: boolean };
  additionalGids?: unknown[];
  deviceNodes?: { hostPath?: string }[];
  mounts?: { type?: string }[];
};

const word = '[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?';
const deviceWord = '[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?';
const qualified = new RegExp(`^(${word}/${word})=(${deviceWord})$`);

const isKind = (text: string) => new RegExp(`^${word}/${word}$`).test(text);
const isDeviceName = (text: string) => new RegExp(`^${deviceWord}$`).test(text);

/** `vendor.com/class=name` in its two parts; undefined for what is not of that form. */
export function parseQualifiedName(text: string): { kind: string; name: string } | undefined {
  const [, kind, name] = qualified.exec(text) ?? [];
  return kind === undefined || name === undefined ? undefined : { kind, name };
}

function invalid(why: string): EngineError {
  return new EngineError('InvalidArgument', 'CDI_INVALID', why);
}

/** One object of the file: every field is asked for by its type, and what nobody asked for is an error. */
class Fields {
  readonly #value: Record<string, unknown>;
  readonly #place: string;
  readonly #asked = new Set<string>();

  constructor(value: unknown, place: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${place} is no object`);
    this.#value = value as Record<string, unknown>;
    this.#place = place;
  }

  text(name: string): string | undefined {
    return this.#typed(name, 'string') as string | undefined;
  }

  required(name: string): string {
    const value = this.text(name);
    if (value) return value;
    throw this.wrong(`${name} is empty`);
  }

  boolean(name: string): boolean | undefined {
    return this.#typed(name, 'boolean') as boolean | undefined;
  }

  number(name: string): number | undefined {
    const value = this.#typed(name, 'number') as number | undefined;
    if (value === undefined || Number.isSafeInteger(value)) return value;
    throw this.wrong(`${name} is no whole number`);
  }

  texts(name: string): string[] | undefined {
    if (this.#value[name] === undefined) return undefined;
    const list = this.list(name);
    if (list.every((item) => typeof item === 'string')) return list;
    throw this.wrong(`${name} is no list of strings`);
  }

  numbers(name: string): number[] {
    const list = this.list(name);
    if (list.every((item) => typeof item === 'number' && Number.isSafeInteger(item) && item >= 0)) return list as number[];
    throw this.wrong(`${name} is no list of numbers`);
  }

  list(name: string): unknown[] {
    this.#asked.add(name);
    const value = this.#value[name] ?? [];
    if (Array.isArray(value)) return value;
    throw this.wrong(`${name} is no list`);
  }

  object(name: string): Record<string, unknown> | undefined {
    this.#asked.add(name);
    const value = this.#value[name] ?? undefined;
    if (value === undefined || (typeof value === 'object' && !Array.isArray(value))) return value as Record<string, unknown> | undefined;
    throw this.wrong(`${name} is no object`);
  }

  /** All that is there has been asked for. */
  done(): void {
    const other = Object.keys(this.#value).find((name) => !this.#asked.has(name));
    if (other !== undefined) throw this.wrong(`unknown field ${JSON.stringify(other)}`);
  }

  wrong(why: string): EngineError {
    return invalid(`${this.#place}: ${why}`);
  }

  #typed(name: string, type: 'string' | 'number' | 'boolean'): unknown {
    this.#asked.add(name);
    const value = this.#value[name] ?? undefined;
    if (value === undefined || typeof value === type) return value;
    throw this.wrong(`${name} is no ${type}`);
  }
}
