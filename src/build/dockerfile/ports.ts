/** What is wrong with a port; the caller adds the place. */
export class PortError extends Error {
  override readonly name = 'PortError';
}

/**
 * `8080`, `53/udp`, `8000-8002`; also `[ip:]host:container` as BuildKit takes it, of which only the container's part counts. Gives `port/protocol`
 * for each port. Throws PortError.
 */
export function parseExposedPort(text: string): string[] {
  const container = text.split(':').at(-1) ?? '';
  const [range = '', protocol = 'tcp', ...more] = container.split('/');
  const lower = (protocol === '' ? 'tcp' : protocol).toLowerCase();
  if (more.length > 0 || !['tcp', 'udp', 'sctp'].includes(lower)) throw new PortError(`${text}: the protocol is tcp, udp or sctp`);
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range);
  const first = Number(match?.[1] ?? Number.NaN);
  const last = Number(match?.[2] ?? first);
  if (match === null || last > 65535 || first > last) throw new PortError(`${text} is not a port: expected 0 to 65535, or a range`);
  return Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${lower}`);
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
