/** `degraded`: works, with something less. `unsupported`: there, but not usable here. */
type Status = 'ok' | 'degraded' | 'missing' | 'unsupported';

export type HostItem = {
  section: 'Kernel' | 'Storage' | 'Control groups' | 'Security' | 'Limits' | 'Programs';
  name: string;
  status: Status;
  /** Without it no container runs. */
  required: boolean;
  /** What was found. */
  detail: string;
  /** Picked among others of its kind. */
  chosen?: boolean | undefined;
  /** What it means for the engine; always there when the status is not ok. */
  why?: string | undefined;
  /** A command that provides it. */
  install?: string | undefined;
};

/** What the engine uses of what there is. `name` is undefined when nothing fits. */
export type Choice = { name: string | undefined; why: string };

export type HostReport = {
  /** The engine can run here: nothing required is missing. */
  ready: boolean;
  root: string;
  run: string;
  privileged: boolean;
  /** What could not be looked at, and why; empty for root. */
  unknown: string[];
  choices: {
    runtime: Choice;
    cgroupDriver: Choice;
    snapshotter: Choice;
    network: Choice;
    init: Choice;
    userNamespaces: Choice;
    appArmor: Choice;
    devices: Choice;
  };
  items: HostItem[];
};

export function isReady(items: readonly HostItem[]): boolean {
  return items.every(({ required, status }) => !required || status === 'ok' || status === 'degraded');
}

/** One apt-get line for everything that a package provides, or undefined. */
export function installLine(items: readonly HostItem[]): string | undefined {
  const packages = new Set(items.flatMap(({ status, install }) => (status === 'missing' && install ? install.split(' ').slice(3) : [])));
  return packages.size === 0 ? undefined : `apt-get install -y ${[...packages].join(' ')}`;
}

const marks: Record<Status, { mark: string; colour: number }> = {
  ok: { mark: 'ok', colour: 32 },
  degraded: { mark: 'less', colour: 33 },
  missing: { mark: 'MISSING', colour: 31 },
  unsupported: { mark: 'NO', colour: 31 },
};

const choiceNames: Record<keyof HostReport['choices'], string> = {
  runtime: 'OCI runtime',
  cgroupDriver: 'cgroup driver',
  snapshotter: 'snapshotter',
  network: 'networks',
  init: 'init',
  userNamespaces: 'user namespaces',
  appArmor: 'AppArmor profile',
  devices: 'CDI devices',
};

/** For people: one line an item, then what was chosen and what to do. Colours only when asked for. */
export function renderReport(report: HostReport, options: { colour?: boolean | undefined } = {}): string {
  const paint = (text: string, code: number) => (options.colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const width = Math.max(...report.items.map(({ name }) => name.length), ...Object.values(choiceNames).map((name) => name.length));
  const lines: string[] = [];
  for (const section of new Set(report.items.map((item) => item.section))) {
    lines.push(paint(section, 1));
    for (const item of report.items.filter((each) => each.section === section)) lines.push(...renderItem(item, width, paint));
    lines.push('');
  }
  lines.push(paint('Chosen', 1));
  for (const [key, { name, why }] of Object.entries(report.choices) as [keyof HostReport['choices'], Choice][]) {
    lines.push(`  ${choiceNames[key].padEnd(width)}  ${name === undefined ? paint('none', 31) : name}: ${why}`);
  }
  lines.push('', ...renderVerdict(report, paint));
  return `${lines.join('\n')}\n`;
}

function renderItem(item: HostItem, width: number, paint: (text: string, code: number) => string): string[] {
  const { mark, colour } = marks[item.status];
  const label = item.status === 'missing' && !item.required ? 'missing' : mark;
  // Red is for what keeps the engine from running.
  const code = colour === 31 && !item.required ? 33 : colour;
  const head = `  ${item.name.padEnd(width)}  ${paint(label.padEnd(7), code)}  ${item.detail}`;
  return item.why === undefined || item.status === 'ok' ? [head] : [head, `  ${''.padEnd(width)}  ${''.padEnd(7)}  ${paint(item.why, 2)}`];
}

function renderVerdict(report: HostReport, paint: (text: string, code: number) => string): string[] {
  const lines: string[] = [];
  if (report.unknown.length > 0) lines.push('Not looked at, for want of root:', ...report.unknown.map((each) => `  ${each}`), '');
  const install = installLine(report.items);
  if (install !== undefined) lines.push(`To get what is missing, as root:\n  ${install}`, '');
  const broken = report.items.filter(({ required, status }) => required && (status === 'missing' || status === 'unsupported'));
  if (report.ready) lines.push(paint(`This host runs Slipway${report.privileged ? '' : ' (as root)'}.`, 32));
  else lines.push(paint(`This host does not run Slipway yet: ${broken.map(({ name }) => name).join(', ')}.`, 31));
  return lines;
}
