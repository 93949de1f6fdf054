import { EngineError } from '../base/errors.ts';
import { runCommand } from './command.ts';
import type { Bridge } from './definitions.ts';
import { Serial } from './locks.ts';
import type { PortBinding } from './port.ts';

/** A container's published ports and where they lead. */
export type Published = { containerId: string; ipAddress: string; ports: readonly PortBinding[] };

/** Everything that the rules are made of, at the time of asking. */
export type FirewallState = { bridges: readonly Bridge[]; published: readonly Published[] };

type Rules = { table: 'raw' | 'nat' | 'filter'; chains: Record<string, string[]>; jumps: { from: string; match: string; to: string }[] };

/**
 * The engine's own iptables rules: published ports, isolation between networks, and the guard of the host's loopback. They sit in chains
 * named by the root, and a change of them is one iptables-restore, which applies whole or not at all (docs/adr/0060).
 */
export class Firewall {
  private readonly prefix: string;
  private readonly state: () => FirewallState;
  private readonly serial = new Serial();
  /** Whether this process has written all rules once; from then on containers come and go by single lines. */
  private complete = false;

  constructor(options: { rootId: string; state: () => FirewallState }) {
    this.prefix = `SLIPWAY-${options.rootId}`;
    this.state = options.state;
  }

  /** Writes every rule anew: after a change of networks, at the daemon's start, after something else has flushed them. */
  rewrite(): Promise<void> {
    return this.serial.run(() => this.rewriteNow(this.state()));
  }

  /** Adds the rules of one container, which `state()` names already. */
  publish(published: Published): Promise<void> {
    if (published.ports.length === 0) return Promise.resolve();
    return this.serial.run(async () => {
      if (!this.complete || !(await this.change('-A', published))) await this.rewriteNow(this.state());
    });
  }

  /** Removes the rules of one container. A no-op where they are gone. */
  withdraw(published: Published): Promise<void> {
    if (published.ports.length === 0) return Promise.resolve();
    return this.serial.run(async () => {
      if (this.complete && (await this.change('-D', published))) return;
      const { bridges, published: all } = this.state();
      await this.rewriteNow({ bridges, published: all.filter(({ containerId }) => containerId !== published.containerId) });
    });
  }

  /** Takes every chain of this root off the host. */
  remove(): Promise<void> {
    return this.serial.run(async () => {
      this.complete = false;
      const present = await this.save();
      const script = this.render({ bridges: [], published: [] }).flatMap(({ table, chains, jumps }) => {
        const lines = [
          ...jumps.filter((jump) => present.has(this.jumpLine('-A', jump))).map((jump) => this.jumpLine('-D', jump)),
          ...Object.keys(chains).flatMap((chain) => (present.has(`${table} ${chain}`) ? [`-F ${chain}`] : [])),
          ...Object.keys(chains).flatMap((chain) => (present.has(`${table} ${chain}`) ? [`-X ${chain}`] : [])),
        ];
        return lines.length === 0 ? [] : [`*${table}`, ...lines, 'COMMIT'];
      });
      if (script.length > 0) await this.restoreOrThrow(script);
    });
  }

  private async rewriteNow(state: FirewallState): Promise<void> {
    const present = await this.save();
    const script = this.render(state).flatMap(({ table, chains, jumps }) => [
      `*${table}`,
      // Naming a chain that exists empties it, within the same transaction.
      ...Object.keys(chains).map((chain) => `:${chain} - [0:0]`),
      ...Object.entries(chains).flatMap(([chain, rules]) => rules.map((rule) => `-A ${chain} ${rule}`)),
      ...jumps.filter((jump) => !present.has(this.jumpLine('-A', jump))).map((jump) => this.jumpLine('-I', jump)),
      'COMMIT',
    ]);
    await this.restoreOrThrow(script);
    this.complete = true;
  }

  private render({ bridges, published }: FirewallState): Rules[] {
    const chain = (name: string) => `${this.prefix}-${name}`;
    const [loopback, dnat, masquerade] = [chain('RAW'), chain('DNAT'), chain('MASQ')];
    const [forward, isolate] = [chain('FWD'), chain('ISO')];
    return [
      {
        table: 'raw',
        // Bridges accept 127.0.0.0/8 so that the host reaches published ports there. Nobody else may: neither a container that crafts
        // packets to the host's own services, nor a neighbour on the wire to a port published on 127.0.0.1.
        chains: { [loopback]: ['! -i lo -d 127.0.0.0/8 -j DROP'] },
        jumps: [{ from: 'PREROUTING', match: '', to: loopback }],
      },
      {
        table: 'nat',
        chains: {
          [dnat]: published.flatMap(portRules),
          [masquerade]: bridges.flatMap(({ name, definition }) => [
            `-s 127.0.0.0/8 -o ${name} -m conntrack --ctstate DNAT -j MASQUERADE`,
            // A container that calls its own or a neighbour's published port: the answer must come back the way it went.
            `-s ${definition.subnets[0]?.subnet} -o ${name} -m conntrack --ctstate DNAT -j MASQUERADE`,
          ]),
        },
        jumps: [
          { from: 'PREROUTING', match: '-m addrtype --dst-type LOCAL ', to: dnat },
          { from: 'OUTPUT', match: '-m addrtype --dst-type LOCAL ', to: dnat },
          { from: 'POSTROUTING', match: '', to: masquerade },
        ],
      },
      {
        table: 'filter',
        chains: {
          [forward]: [...bridges.flatMap(acceptRules), ...bridges.flatMap((bridge) => separateRules(bridge, isolate))],
          [isolate]: bridges.map(({ name }) => `-o ${name} -j DROP`),
        },
        jumps: [{ from: 'FORWARD', match: '', to: forward }],
      },
    ];
  }

  private jumpLine(verb: '-A' | '-I' | '-D', { from, match, to }: Rules['jumps'][number]): string {
    return `${verb} ${from} ${match}-j ${to}`;
  }

  private async change(verb: '-A' | '-D', published: Published): Promise<boolean> {
    const lines = portRules(published).map((rule) => `${verb} ${this.prefix}-DNAT ${rule}`);
    return (await this.restore(['*nat', ...lines, 'COMMIT'])).exitCode === 0;
  }

  /** Lines of iptables-save, and `table chain` for every chain. */
  private async save(): Promise<Set<string>> {
    const { exitCode, stdout, stderr } = await runCommand('iptables-save', [], { debianPackage: 'iptables' });
    if (exitCode !== 0) throw failed('iptables-save', stderr);
    let table = '';
    const present = new Set<string>();
    for (const line of stdout.split('\n')) {
      if (line.startsWith('*')) table = line.slice(1);
      else if (line.startsWith(':')) present.add(`${table} ${line.slice(1).split(' ', 1)[0]}`);
      else present.add(line.trim());
    }
    return present;
  }

  private async restoreOrThrow(script: readonly string[]): Promise<void> {
    const { exitCode, stderr } = await this.restore(script);
    if (exitCode !== 0) throw failed('iptables-restore', stderr);
  }

  private restore(script: readonly string[]) {
    return runCommand('iptables-restore', ['--noflush', '--wait', '10'], { input: `${script.join('\n')}\n`, debianPackage: 'iptables' });
  }
}

function portRules({ containerId, ipAddress, ports }: Published): string[] {
  return ports.map(({ hostIp, hostPort, containerPort, protocol }) => {
    const destination = hostIp === '' || hostIp === '0.0.0.0' ? '' : `-d ${hostIp}/32 `;
    const comment = `-m comment --comment ${containerId.slice(0, 12)}`;
    return `${destination}-p ${protocol} -m ${protocol} --dport ${hostPort} ${comment} -j DNAT --to-destination ${ipAddress}:${containerPort}`;
  });
}

/** Accepted whatever the policy of FORWARD is (another engine on the host may have set it to DROP). */
function acceptRules({ name, definition }: Bridge): string[] {
  if (definition.internal) return [`-i ${name} -o ${name} -j ACCEPT`];
  return [`-o ${name} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`, `-o ${name} -m conntrack --ctstate DNAT -j ACCEPT`];
}

function separateRules({ name, definition }: Bridge, isolate: string): string[] {
  if (definition.internal) return [`-i ${name} -j DROP`, `-o ${name} -j DROP`];
  return [`-i ${name} ! -o ${name} -j ${isolate}`];
}

function failed(what: string, stderr: string): EngineError {
  return new EngineError('Unavailable', 'FIREWALL_FAILED', `${what} failed: ${stderr.trim().slice(0, 500)}`, {
    hint: 'Networks need a kernel with netfilter NAT and the iptables package; "slipway doctor" checks both.',
  });
}
