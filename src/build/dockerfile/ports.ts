import { isIP } from 'node:net';

/** What is wrong with a port; the caller adds the place. */
export class PortError extends Error {
  override readonly name = 'PortError';
}

export type ExposedPort = {
  /** `port/protocol`, one for each of a range. */
  readonly ports: readonly string[];
  /** As written. */
  readonly protocol: string;
  /** An address or a port of the host stands before it. */
  readonly published: boolean;
};

/**
 * `8080`, `53/udp`, `8000-8002`; also `[ip:]host:container` as BuildKit takes it, of which only the container's part counts. Throws PortError.
 */
export function parseExposedPort(text: string): ExposedPort {
  const parts = text.split(':');
  const container = parts.at(-1) ?? '';
  const [range = '', protocol = ''] = splitOnce(container, '/');
  const lower = (protocol === '' ? 'tcp' : protocol).toLowerCase();
  if (!['tcp', 'udp', 'sctp'].includes(lower)) throw new PortError(`${text}: the protocol is tcp, udp or sctp`);
  const { first, last } = portRange(text, range);
  const host = parts.at(-2) ?? '';
  const address = parts.slice(0, -2).join(':');
  if (address !== '' && isIP(address.replace(/^\[(.*)\]$/, '$1')) === 0) throw new PortError(`${text}: ${address} is not an IP address`);
  if (host !== '') {
    const published = portRange(text, host);
    if (published.last - published.first !== last - first && last !== first) {
      throw new PortError(`${text}: the two ranges have different lengths`);
    }
  }
  return {
    ports: Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${lower}`),
    protocol,
    published: host !== '' || address !== '',
  };
}

function splitOnce(text: string, at: string): [string, string] {
  const index = text.indexOf(at);
  return index < 0 ? [text, ''] : [text.slice(0, index), text.slice(index + 1)];
}

function portRange(text: string, range: string): { first: number; last: number } {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range);
  const first = Number(match?.[1] ?? Number.NaN);
  const last = Number(match?.[2] ?? first);
  if (match === null || last > 65535 || first > last) throw new PortError(`${text} is not a port: expected 0 to 65535, or a range`);
  return { first, last };
}

const signals =
  'ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU UNUSED URG USR1 USR2 VTALRM WINCH XCPU XFSZ';
const signalNames = new Set(signals.split(' '));

/** A name with or without SIG, a real-time one, or a number. */
export function isSignal(text: string): boolean {
  if (/^\d+$/.test(text)) return Number(text) > 0 && Number(text) <= 64;
  const name = text.toUpperCase().replace(/^SIG/, '');
  return signalNames.has(name) || /^RTM(IN(\+\d{1,2})?|AX(-\d{1,2})?)$/.test(name);
}
