import type { DeviceRequest, HostConfig, ThrottleDevice } from '../../api-types/container.ts';
import { usageError } from '../flags.ts';
import { splitFields } from './mounts.ts';
import { parseBytes } from './units.ts';

type Device = NonNullable<HostConfig['Devices']>[number];

/** The Container Device Interface's qualified names, `vendor.com/class=name`. */
const cdiName = /^[A-Za-z][\w.-]*\/[A-Za-z][\w.-]*=[A-Za-z0-9][\w.:-]*$/;

/** Docker's `--device` and `--gpus`: devices of the host, and what a device driver is asked for. */
export function parseDevices(devices: readonly string[], gpus: readonly string[]): { devices: Device[]; requests: DeviceRequest[] } {
  const named = devices.filter((text) => cdiName.test(text));
  const cdi: DeviceRequest[] = named.length === 0 ? [] : [{ Driver: 'cdi', DeviceIDs: named }];
  return {
    devices: devices.filter((text) => !cdiName.test(text)).map(parseDevice),
    requests: [...gpus.map(parseGpus), ...cdi],
  };
}

/** Docker's `--device HOST[:CONTAINER[:rwm]]`. */
function parseDevice(text: string): Device {
  const parts = text.split(':');
  const [host = '', second, third] = parts;
  const isMode = (value: string) => /^[rwm]{1,3}$/.test(value);
  const inside = second === undefined || (third === undefined && isMode(second)) ? host : second;
  const permissions = third ?? (second !== undefined && isMode(second) ? second : 'rwm');
  if (host === '' || parts.length > 3 || !isMode(permissions) || !inside.startsWith('/')) {
    throw usageError(
      `invalid device "${text}"`,
      'Devices look like /dev/fuse, /dev/sda:/dev/xvda, /dev/sda:/dev/xvda:r or vendor.com/class=name.',
    );
  }
  return { PathOnHost: host, PathInContainer: inside, CgroupPermissions: permissions };
}

/** Docker's `--gpus all`, `--gpus 2`, `--gpus device=0` and `--gpus '"device=0,1",capabilities=utility,driver=nvidia'`. */
function parseGpus(text: string): DeviceRequest {
  const fields = new Map<string, string>();
  for (const field of splitFields(text)) {
    const equals = field.indexOf('=');
    const key = equals < 0 ? 'count' : field.slice(0, equals);
    if (!['driver', 'count', 'device', 'capabilities', 'options'].includes(key))
      throw invalidGpus(text, `unknown key ${JSON.stringify(key)}`);
    if (fields.has(key)) throw invalidGpus(text, `${key} is given twice`);
    fields.set(key, field.slice(equals + 1));
  }
  const count = fields.get('count') ?? (fields.has('device') ? '0' : '1');
  if (count !== 'all' && !/^-?\d{1,9}$/.test(count)) throw invalidGpus(text, `${JSON.stringify(count)} is neither a number nor "all"`);
  const options = fields.get('options')?.split(',') ?? [];
  return {
    Driver: fields.get('driver') ?? '',
    Count: count === 'all' ? -1 : Number(count),
    DeviceIDs: fields.get('device')?.split(',') ?? null,
    Capabilities: [[...(fields.get('capabilities')?.split(',') ?? []), 'gpu']],
    Options: Object.fromEntries(options.map((option) => [option.split('=', 1)[0] ?? '', option.slice(option.indexOf('=') + 1)])),
  };
}

function invalidGpus(text: string, why: string) {
  return usageError(`invalid argument "${text}" for --gpus: ${why}`, 'GPUs look like all, 2, or "device=0,1" (with the quotes).');
}

/** Docker's `--device-read-bps PATH:RATE` with a size, and with `operations` its `--device-read-iops PATH:NUMBER`. */
export function parseThrottle(text: string, flag: string, operations = false): ThrottleDevice {
  const { path, value } = splitPath(text, flag);
  const rate = operations && !/^\d+$/.test(value) ? Number.NaN : operations ? Number(value) : parseBytes(value, flag);
  if (!Number.isSafeInteger(rate)) throw usageError(`invalid argument "${text}" for ${flag}: ${value} is not a number of operations`);
  return { Path: path, Rate: rate };
}

/** Docker's `--blkio-weight-device PATH:WEIGHT`. */
export function parseWeightDevice(text: string): { Path: string; Weight: number } {
  const { path, value } = splitPath(text, '--blkio-weight-device');
  const weight = /^\d{1,4}$/.test(value) ? Number(value) : -1;
  if (weight !== 0 && (weight < 10 || weight > 1000))
    throw usageError(`invalid argument "${text}" for --blkio-weight-device: weights go from 10 to 1000`);
  return { Path: path, Weight: weight };
}

function splitPath(text: string, flag: string): { path: string; value: string } {
  const colon = text.lastIndexOf(':');
  const path = text.slice(0, Math.max(0, colon));
  if (!path.startsWith('/dev/')) throw usageError(`invalid argument "${text}" for ${flag}`, 'It looks like /dev/sda:1mb.');
  return { path, value: text.slice(colon + 1) };
}

/** Docker's `--device-cgroup-rule`: `c 42:* rmw`. */
export function parseCgroupRule(text: string): string {
  if (/^[acb] (?:\d+|\*):(?:\d+|\*) [rwm]{1,3}$/.test(text)) return text;
  throw usageError(`invalid argument "${text}" for --device-cgroup-rule`, 'Rules look like "c 42:* rmw".');
}
