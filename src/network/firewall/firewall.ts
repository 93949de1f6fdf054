import { EngineError } from '../../base/errors.ts';
import { runCommand } from '../command.ts';
import type { Family } from '../ip.ts';
import { Coalesced } from '../locks.ts';
import { type Chain, type FirewallState, type Jump, renderRules, type TableRules } from './rules.ts';

type Options = {
  rootId: string;
  /** What the rules are to say, at the time of asking. */
  state: () => FirewallState;
};

const programs = { 4: 'iptables', 6: 'ip6tables' } as const;
const families: readonly Family[] = [4, 6];

/**
 * The engine's own iptables rules: published ports, isolation between networks, masquerading, and the guard of the host's loopback. They sit in
 * chains named by the root. Rules are a function of the state: what differs from what was last written is changed by one iptables-restore,
 * which applies whole or not at all, and any number of calls that wait meanwhile share the next (docs/adr/0066).
 */
export class Firewall {
  private readonly prefix: string;
  private readonly state: () => FirewallState;
  /** What this process has last written, by family. Undefined: nothing yet, or not known. */
  private readonly written = new Map<Family, TableRules[]>();
  private readonly passes = new Coalesced(() => this.pass());
  private looking = false;

  constructor(options: Options) {
    this.prefix = `SLIPWAY-${options.rootId}`;
    this.state = options.state;
  }

  /** Resolves when the rules are as the state was at this call, or later. */
  sync(): Promise<void> {
    return this.passes.run();
  }

  /** As `sync`, and puts back what something else has taken away since. True when something was missing. */
  async verify(): Promise<boolean> {
    this.looking = true;
    const before = this.repaired;
    await this.passes.run();
    return this.repaired !== before;
  }

  private repaired = 0;

  /** Writes every rule anew, whatever is there. */
  rewrite(): Promise<void> {
    this.written.clear();
    return this.passes.run();
  }

  /** Takes every chain of this root off the host. */
  async remove(): Promise<void> {
    for (const family of families) {
      const rules = renderRules(family, this.prefix, { networks: [], published: [] });
      const present = await this.save(family).catch((error: unknown) => {
        // Without the program, there were no rules either.
        if (error instanceof EngineError && error.code === 'HELPER_MISSING') return new Set<string>();
        throw error;
      });
      const script = rules.flatMap(({ table, chains, jumps }) => {
        const there = chains.filter(({ name }) => present.has(`${table} ${name}`));
        const lines = [
          ...jumps.filter((jump) => present.has(jumpLine('-A', jump))).map((jump) => jumpLine('-D', jump)),
          ...there.map(({ name }) => `-F ${name}`),
          ...there.map(({ name }) => `-X ${name}`),
        ];
        return lines.length === 0 ? [] : [`*${table}`, ...lines, 'COMMIT'];
      });
      this.written.delete(family);
      if (script.length > 0) await this.restoreOrThrow(family, script);
    }
  }

  private async pass(): Promise<void> {
    const look = this.looking;
    this.looking = false;
    const state = this.state();
    await Promise.all(families.map((family) => this.passOf(family, state, look)));
  }

  private async passOf(family: Family, state: FirewallState, look: boolean): Promise<void> {
    const wanted = renderRules(family, this.prefix, state);
    const before = this.written.get(family);
    if (before === undefined && isIdle(wanted)) return;
    if (before !== undefined && look && !(await this.isThere(family, before))) {
      this.repaired++;
      return this.writeAll(family, wanted);
    }
    if (before === undefined) return this.writeAll(family, wanted);
    const script = wanted.flatMap((rules, i) => changes(before[i], rules));
    if (script.length > 0 && (await this.restore(family, script)).exitCode !== 0) return this.writeAll(family, wanted);
    this.written.set(family, wanted);
  }

  private async writeAll(family: Family, wanted: TableRules[]): Promise<void> {
    this.written.delete(family);
    const present = await this.save(family);
    const script = wanted.flatMap(({ table, chains, jumps }) => [
      `*${table}`,
      ...chains.flatMap(rewriteChain),
      ...jumps.filter((jump) => !present.has(jumpLine('-A', jump))).map((jump) => jumpLine('-I', jump)),
      'COMMIT',
    ]);
    await this.restoreOrThrow(family, script);
    this.written.set(family, wanted);
  }

  private async isThere(family: Family, rules: readonly TableRules[]): Promise<boolean> {
    const present = await this.save(family);
    return rules.every(
      ({ table, chains, jumps }) =>
        jumps.every((jump) => present.has(jumpLine('-A', jump))) &&
        chains.every(({ name, lines }) => present.has(`${table} ${name}`) && present.has(`${name}: ${lines.length}`)),
    );
  }

  /** Of iptables-save: its lines, `table chain` for every chain, and `chain: N` for its number of rules. */
  private async save(family: Family): Promise<Set<string>> {
    const program = `${programs[family]}-save`;
    const { exitCode, stdout, stderr } = await runCommand(program, [], { debianPackage: 'iptables' });
    if (exitCode !== 0) throw failed(program, stderr);
    let table = '';
    const present = new Set<string>();
    const counts = new Map<string, number>();
    for (const line of stdout.split('\n')) {
      if (line.startsWith('*')) table = line.slice(1);
      else if (line.startsWith(':')) {
        const name = line.slice(1).split(' ', 1)[0] ?? '';
        present.add(`${table} ${name}`);
        counts.set(name, 0);
      } else if (line.startsWith('-A ')) {
        const name = line.split(' ', 2)[1] ?? '';
        present.add(line.trim());
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
    }
    for (const [name, count] of counts) present.add(`${name}: ${count}`);
    return present;
  }

  private async restoreOrThrow(family: Family, script: readonly string[]): Promise<void> {
    const { exitCode, stderr } = await this.restore(family, script);
    if (exitCode !== 0) throw failed(`${programs[family]}-restore`, stderr);
  }

  private restore(family: Family, script: readonly string[]) {
    const input = `${script.join('\n')}\n`;
    return runCommand(`${programs[family]}-restore`, ['--noflush', '--wait', '10'], { input, debianPackage: 'iptables' });
  }
}

/** Whether the rules do nothing: then no chain is made for them. */
function isIdle(rules: readonly TableRules[]): boolean {
  return rules.every(({ table, chains }) => table === 'raw' || chains.every(({ lines }) => lines.length === 0));
}

function rewriteChain({ name, lines }: Chain): string[] {
  // Naming a chain that exists empties it, within the same transaction.
  return [`:${name} - [0:0]`, ...lines.map((line) => `-A ${name} ${line}`)];
}

function changes(before: TableRules | undefined, { table, chains }: TableRules): string[] {
  const lines = chains.flatMap((chain, i) => chainChanges(before?.chains[i]?.lines ?? [], chain));
  return lines.length === 0 ? [] : [`*${table}`, ...lines, 'COMMIT'];
}

function chainChanges(before: readonly string[], chain: Chain): string[] {
  const { name, lines, unordered } = chain;
  if (before.length === lines.length && before.every((line, i) => line === lines[i])) return [];
  if (!unordered) return rewriteChain(chain);
  const [old, now] = [new Set(before), new Set(lines)];
  return [
    ...before.filter((line) => !now.has(line)).map((line) => `-D ${name} ${line}`),
    ...lines.filter((line) => !old.has(line)).map((line) => `-A ${name} ${line}`),
  ];
}

function jumpLine(verb: '-A' | '-I' | '-D', { from, match, to }: Jump): string {
  return `${verb} ${from} ${match}-j ${to}`;
}

function failed(what: string, stderr: string): EngineError {
  return new EngineError('Unavailable', 'FIREWALL_FAILED', `${what} failed: ${stderr.trim().slice(0, 500)}`, {
    hint: 'Networks need a kernel with netfilter NAT and the iptables package; "slipway doctor" checks both.',
  });
}
