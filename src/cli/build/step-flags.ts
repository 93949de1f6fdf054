import type { Query } from '../client/client.ts';
import { integer, list, text, type Values } from '../flags.ts';
import { parseHost, parseUlimit } from '../parse/limits.ts';
import { parseBytes, parseBytesOrUnlimited, parseCpus } from '../parse/units.ts';

const periodUs = 100_000;

/** What is asked for all RUN steps of a build: Docker's flags, and hosts. */
export const stepFlags = {
  'add-host': list('Add a line to /etc/hosts of RUN', { value: 'NAME:IP' }),
  allow: list('Allow RUN what needs it: network.host, device, security.insecure', { value: 'ENTITLEMENT' }),
  'allow-host': list('Let RUN reach this host, all below a name, or an address, and no others', { value: 'NAME|*.NAME|IP' }),
  'cpu-period': integer('CFS period of RUN in microseconds', { value: 'N' }),
  'cpu-quota': integer('CFS quota of RUN in microseconds', { value: 'N' }),
  'cpu-shares': integer('CPU weight of RUN, relative to 1024', { short: 'c', value: 'N' }),
  cpus: text('Number of CPUs that a RUN may use', { value: 'N' }),
  'cpuset-cpus': text('CPUs that RUN may run on', { value: '0-3,7' }),
  'cpuset-mems': text('Memory nodes that RUN may use', { value: '0,1' }),
  memory: text('Memory that a RUN may use', { short: 'm', value: 'SIZE' }),
  'memory-swap': text('Memory and swap together; -1 for no limit', { value: 'SIZE' }),
  'pids-limit': integer('Processes that a RUN may have (8192); -1 for no limit', { value: 'N' }),
  'shm-size': text('Size of /dev/shm in RUN', { value: 'SIZE' }),
  ulimit: list('Resource limit of RUN', { value: 'NAME=SOFT[:HARD]' }),
} as const;

export function stepQuery(flags: Values<typeof stepFlags>): Query {
  const bytes = (name: 'memory' | 'shm-size') => (flags[name] === undefined ? undefined : parseBytes(flags[name], `--${name}`));
  const { cpus, ulimit } = flags;
  const swap = flags['memory-swap'];
  return {
    extrahosts: flags['add-host'].map(parseHost),
    allowedhosts: flags['allow-host'],
    entitlements: flags.allow,
    cpuperiod: cpus === undefined ? flags['cpu-period'] : periodUs,
    cpuquota: cpus === undefined ? flags['cpu-quota'] : Math.round((parseCpus(cpus) * periodUs) / 1e9),
    cpushares: flags['cpu-shares'],
    cpusetcpus: flags['cpuset-cpus'],
    cpusetmems: flags['cpuset-mems'],
    memory: bytes('memory'),
    memswap: swap === undefined ? undefined : parseBytesOrUnlimited(swap, '--memory-swap'),
    pidslimit: flags['pids-limit'],
    shmsize: bytes('shm-size'),
    ulimits: ulimit.length === 0 ? undefined : JSON.stringify(ulimit.map(parseUlimit)),
  };
}
