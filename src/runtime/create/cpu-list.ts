import { EngineError } from '../../base/errors.ts';

/** More than any kernel is built for; an attacker's `0-4294967295` must not become a set of that size. */
const most = 8192;

/** Processors or memory nodes of a list such as `0-3,8`. Undefined for what is none. */
export function parseCpuList(text: string): Set<number> | undefined {
  const numbers = new Set<number>();
  for (const part of text.split(',')) {
    const [, from = '', to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim()) ?? [];
    const [first, last] = [Number(from), Number(to)];
    if (from === '' || first > last || last > most) return undefined;
    for (let number = first; number <= last; number++) numbers.add(number);
  }
  return numbers;
}

/** InvalidArgument when `asked` is no list, or names what the host does not have. */
export function checkCpuList(asked: string, available: string, names: { kind: 'cpus' | 'mems'; what: string }): void {
  const refuse = (message: string) => new EngineError('InvalidArgument', 'CPUSET_INVALID', message);
  const wanted = parseCpuList(asked);
  if (wanted === undefined) throw refuse(`Invalid value ${asked} for cpuset ${names.kind}: invalid format: ${asked}`);
  const there = parseCpuList(available) ?? new Set<number>();
  if ([...wanted].some((number) => !there.has(number))) {
    throw refuse(`Requested ${names.what} are not available - requested ${asked}, available: ${available}`);
  }
}
