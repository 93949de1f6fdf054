/** A change of permission bits as chmod(1) takes it: `u=rwX,go-w`. */
export type ModeChange = (mode: number, isDirectory: boolean) => number;

const setuid = 0o4000;
const setgid = 0o2000;
const sticky = 0o1000;
const classes: Readonly<Record<string, number>> = { u: setuid | 0o700, g: setgid | 0o070, o: 0o007 };
const shifts: Readonly<Record<string, number>> = { u: 6, g: 3, o: 0 };
const everyone = setuid | setgid | 0o777;

/** Undefined when the text is no change. Without `u`, `g` or `o` it is all three; there is no umask. */
export function parseModeChange(text: string): ModeChange | undefined {
  const changes: ModeChange[] = [];
  for (const clause of text.split(',')) {
    const match = /^([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)$/.exec(clause);
    if (match === null) return undefined;
    const [, who = '', actions = ''] = match;
    for (const action of actions.matchAll(/([-+=])([^-+=]*)/g)) changes.push(oneChange(who, action[1] ?? '', action[2] ?? ''));
  }
  return (mode, isDirectory) => changes.reduce((changed, change) => change(changed, isDirectory), mode);
}

function oneChange(who: string, operator: string, permissions: string): ModeChange {
  const all = who === '' || who.includes('a');
  const named = all ? everyone : [...who].reduce((bits, letter) => bits | (classes[letter] ?? 0), 0);
  // The sticky bit changes only where it is named, and is nothing of "others".
  const mask = permissions.includes('t') && who !== 'o' ? named | sticky : named;
  return (mode, isDirectory) => {
    const bits = bitsOf(permissions, mode, isDirectory) & mask;
    if (operator === '+') return mode | bits;
    if (operator === '-') return mode & ~bits;
    return (mode & ~mask) | bits;
  };
}

function bitsOf(permissions: string, mode: number, isDirectory: boolean): number {
  const shift = shifts[permissions];
  if (shift !== undefined) return ((mode >> shift) & 7) * 0o111;
  const executable = isDirectory || (mode & 0o111) !== 0;
  const bits: Readonly<Record<string, number>> = {
    r: 0o444,
    w: 0o222,
    x: 0o111,
    X: executable ? 0o111 : 0,
    s: setuid | setgid,
    t: sticky,
  };
  return [...permissions].reduce((sum, letter) => sum | (bits[letter] ?? 0), 0);
}
