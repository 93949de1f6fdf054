import { constants } from 'node:os';
import { EngineError } from '../base/errors.ts';

const realtimeMin = 34;
const realtimeMax = 64;

/** `SIGTERM`, `TERM`, `term`, `15`, `SIGRTMIN+3`. InvalidArgument `SIGNAL_INVALID`. */
export function parseSignal(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, '');
  if (/^\d+$/.test(name) && Number(name) > 0 && Number(name) <= realtimeMax) return Number(name);
  const known = (constants.signals as Record<string, number>)[`SIG${name}`];
  if (known !== undefined) return known;
  const realtime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (realtime) {
    const base = realtime[1] === 'MIN' ? realtimeMin : realtimeMax;
    const number = base + (realtime[2] === '-' ? -1 : 1) * Number(realtime[3] ?? 0);
    if (number >= realtimeMin && number <= realtimeMax) return number;
  }
  throw new EngineError('InvalidArgument', 'SIGNAL_INVALID', `Invalid signal: ${text}`, {
    hint: 'Give a name such as SIGTERM, or a number from 1 to 64.',
  });
}

export const SIGKILL = 9;
