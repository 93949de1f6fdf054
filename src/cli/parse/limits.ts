import type { HostConfig, RestartPolicy } from '../../api-types/container.ts';
import { usageError } from '../flags.ts';

type Ulimit = NonNullable<HostConfig['Ulimits']>[number];

const ulimitNames = new Set('core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack'.split(' '));

/** Docker's `--ulimit NAME=SOFT[:HARD]`; -1 is no limit. */
export function parseUlimit(text: string): Ulimit {
  const match = /^([a-z]+)=(-1|\d+)(?::(-1|\d+))?$/.exec(text);
  const name = match?.[1] ?? '';
  if (match === null || !ulimitNames.has(name)) {
    throw usageError(`invalid ulimit "${text}"`, `Ulimits look like nofile=1024:2048. Known: ${[...ulimitNames].join(', ')}.`);
  }
  const soft = Number(match[2]);
  const hard = Number(match[3] ?? match[2]);
  if (hard !== -1 && (soft === -1 || soft > hard)) throw usageError(`invalid ulimit "${text}": the soft limit is over the hard one`);
  return { Name: name, Soft: soft, Hard: hard };
}

/** Docker's `--restart no|always|unless-stopped|on-failure[:MAX]`. */
export function parseRestart(text: string): RestartPolicy {
  const match = /^(no|always|unless-stopped|on-failure)?(?::(\d+))?$/.exec(text);
  if (match === null || (match[2] !== undefined && match[1] !== 'on-failure')) {
    throw usageError(`invalid restart policy "${text}"`, 'Use no, always, unless-stopped or on-failure[:MAX-RETRIES].');
  }
  return { Name: (match[1] ?? 'no') as NonNullable<RestartPolicy['Name']>, MaximumRetryCount: Number(match[2] ?? 0) };
}

/** Docker's `--add-host NAME:IP` or `NAME=IP`; IPv6 may be in brackets. Returns the API's `NAME:IP`. */
export function parseHost(text: string): string {
  const match = /^([^:=\s]+)[:=](.+)$/.exec(text);
  const address = /^\[(.*)\]$/.exec(match?.[2] ?? '')?.[1] ?? match?.[2] ?? '';
  if (match === null || (address !== 'host-gateway' && process.getBuiltinModule('node:net').isIP(address) === 0)) {
    throw usageError(`invalid argument "${text}" for --add-host`, 'Hosts look like db:10.0.0.7, db=fe80::1 or host:host-gateway.');
  }
  return `${match[1]}:${address}`;
}

/** Docker's `--link CONTAINER[:ALIAS]`, as the API takes it. */
export function parseLink(text: string): string {
  const [name = '', alias, ...more] = text.split(':');
  if (name === '' || alias === '' || more.length > 0) throw usageError(`invalid link "${text}"`, 'Links look like db or db:database.');
  return text;
}
