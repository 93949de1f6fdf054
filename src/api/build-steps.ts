import type { BuildRequest } from '../build/port.ts';
import { integer, list, object, requireField, string } from './decode.ts';
import { invalid } from './errors.ts';
import type { Query } from './query.ts';

type Asked = Pick<BuildRequest, 'limits' | 'extraHosts' | 'allowedHosts' | 'entitlements'>;
type Limits = NonNullable<BuildRequest['limits']>;

/** Docker's period of a quota, in us. */
const defaultPeriodUs = 100_000;

/** What a build asks for all of its steps: limits by Docker's parameters, `pidslimit`, `extrahosts`, `allowedhosts` and `entitlements`. */
export function decodeSteps(query: Query): Asked {
  const limits = limitsOf(query);
  const extraHosts = query.list('extrahosts').map(parseExtraHost);
  const allowedHosts = query.list('allowedhosts');
  const entitlements = query.list('entitlements');
  return {
    ...(limits === undefined ? {} : { limits }),
    ...(extraHosts.length === 0 ? {} : { extraHosts }),
    ...(allowedHosts.length === 0 ? {} : { allowedHosts }),
    ...(entitlements.length === 0 ? {} : { entitlements }),
  };
}

function limitsOf(query: Query): Limits | undefined {
  const quota = query.integer('cpuquota') ?? 0;
  const period = query.integer('cpuperiod') || defaultPeriodUs;
  if (quota < 0 || period < 0) throw invalid('PARAMETER_INVALID', 'cpuquota and cpuperiod are in microseconds and cannot be negative');
  const given: { [K in keyof Limits]: Limits[K] } = {
    memoryBytes: query.integer('memory') || undefined,
    memorySwapBytes: query.integer('memswap') || undefined,
    cpus: quota === 0 ? undefined : quota / period,
    cpuShares: query.integer('cpushares') || undefined,
    cpuset: query.string('cpusetcpus'),
    memoryNodes: query.string('cpusetmems'),
    pids: query.integer('pidslimit'),
    shmBytes: query.integer('shmsize') || undefined,
    ulimits: ulimitsOf(query),
  };
  const asked = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return Object.keys(asked).length === 0 ? undefined : asked;
}

function ulimitsOf(query: Query): Limits['ulimits'] {
  const json = query.json('ulimits');
  if (json === undefined || json === null) return undefined;
  const ulimits = list(object({ Name: string, Soft: integer, Hard: integer }))(json, 'ulimits').map(({ Name, Soft, Hard }, index) => ({
    name: requireField(Name, `ulimits[${index}].Name`),
    soft: requireField(Soft, `ulimits[${index}].Soft`),
    hard: requireField(Hard, `ulimits[${index}].Hard`),
  }));
  return ulimits.length === 0 ? undefined : ulimits;
}

/** `NAME:ADDRESS` (Docker's API) or `NAME=ADDRESS` (BuildKit); an IPv6 address may stand in brackets. */
export function parseExtraHost(text: string): { name: string; address: string } {
  const [, name, bracketed, plain] = /^([^:=\s]+)[:=](?:\[([0-9a-fA-F:.]+)\]|([0-9a-fA-F:.]+|host-gateway))$/.exec(text) ?? [];
  const address = bracketed ?? plain;
  if (name !== undefined && address !== undefined) return { name, address };
  throw invalid(
    'EXTRA_HOST_INVALID',
    `bad format for add-host: "${text.slice(0, 200)}"`,
    'Write NAME:ADDRESS, such as db:10.0.0.5 or host:host-gateway.',
  );
}
