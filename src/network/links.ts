import { existsSync } from 'node:fs';
import { access, readdir, readFile, writeFile } from 'node:fs/promises';
import { EngineError, isErrno } from '../base/errors.ts';
import { runCommand } from './command.ts';
import type { Bridge } from './definitions.ts';
import { macFor, parseIpv4 } from './ipv4.ts';

// Bridges are made here and not by netavark so that they outlive their containers: netavark removes a bridge with its last port (150 to
// 230 ms, and as long again to make it anew). So each has a port of its own, the anchor.

export function linkExists(name: string): boolean {
  return existsSync(`/sys/class/net/${name}`);
}

export async function bridgeExists(name: string): Promise<boolean> {
  try {
    await access(`/sys/class/net/${name}/bridge`);
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

/** Makes the bridge with its gateway address, up, with its anchor. Nothing stays when it fails. */
export async function createBridge(bridge: Bridge, anchor: string, mtu: number | undefined): Promise<void> {
  const mac = macFor(parseIpv4(bridge.gateway) ?? bridge.subnet.first + 1);
  const withMtu = mtu === undefined ? '' : ` mtu ${mtu}`;
  try {
    await ip([
      // An address given to a bridge stays; else it is the lowest of its ports' and changes under running connections.
      `link add name ${bridge.name} address ${mac}${withMtu} type bridge`,
      `link add name ${anchor}${withMtu} type veth peer name ${peerOf(anchor)}`,
      `link set dev ${anchor} master ${bridge.name}`,
      `address add ${bridge.gateway}/${bridge.subnet.prefixLength} broadcast + dev ${bridge.name}`,
      `link set dev ${bridge.name} up`,
    ]);
    // Connections from the host's own 127.0.0.1 to a published port leave through the bridge with that source until masqueraded.
    await writeFile(`/proc/sys/net/ipv4/conf/${bridge.name}/route_localnet`, '1');
    await writeIfThere(`/proc/sys/net/ipv6/conf/${bridge.name}/accept_ra`, '0');
  } catch (error) {
    await deleteLink(anchor);
    await deleteLink(bridge.name);
    throw error;
  }
}

function peerOf(anchor: string): string {
  return `${anchor}p`;
}

/** A no-op when there is none. */
export async function deleteLink(name: string): Promise<void> {
  const result = await runCommand('ip', ['link', 'delete', 'dev', name], { debianPackage: 'iproute2' });
  if (result.exitCode !== 0 && !/Cannot find device/.test(result.stderr)) throw failed(`delete ${name}`, result.stderr);
}

/** Brings the loopback of a network namespace up. */
export async function raiseLoopback(netns: string): Promise<void> {
  const result = await runCommand('ip', ['link', 'set', 'dev', 'lo', 'up'], { netns, debianPackage: 'iproute2' });
  if (result.exitCode !== 0) throw failed('set lo up', result.stderr);
}

/**
 * Lets a container reach its own published port. Needed only where iptables sees bridged packets: their destination is rewritten while
 * they are still on the bridge, which does not send a packet back through the port that it came from.
 */
export async function allowHairpin(bridge: string): Promise<void> {
  if ((await readIfThere('/proc/sys/net/bridge/bridge-nf-call-iptables')) !== '1') return;
  const ports = await readdir(`/sys/class/net/${bridge}/brif`);
  await Promise.all(
    ports.map(async (port) => {
      const path = `/sys/class/net/${bridge}/brif/${port}/hairpin_mode`;
      if ((await readIfThere(path)) === '0') await writeIfThere(path, '1');
    }),
  );
}

/** True when it was off: this call made the host a router. */
export async function enableForwarding(): Promise<boolean> {
  const path = '/proc/sys/net/ipv4/ip_forward';
  if ((await readIfThere(path)) === '1') return false;
  await writeFile(path, '1');
  return true;
}

export async function interfaceMtu(name: string): Promise<number | undefined> {
  const mtu = Number(await readIfThere(`/sys/class/net/${name}/mtu`));
  return mtu > 0 ? mtu : undefined;
}

async function ip(lines: readonly string[]): Promise<void> {
  const result = await runCommand('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n`, debianPackage: 'iproute2' });
  if (result.exitCode !== 0) throw failed(lines[0] ?? '', result.stderr);
}

function failed(what: string, stderr: string): EngineError {
  return new EngineError('Unavailable', 'LINK_FAILED', `ip ${what} failed: ${stderr.trim().slice(0, 500)}`, {
    hint: '"slipway doctor" checks what networks need on this host.',
  });
}

/** Both tolerate a file that is not there: a kernel without the feature, or a link that went meanwhile. */
async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'latin1')).trim();
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENODEV', 'EINVAL')) return undefined;
    throw error;
  }
}

async function writeIfThere(path: string, value: string): Promise<void> {
  try {
    await writeFile(path, value, { flag: 'r+' });
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENODEV', 'EINVAL')) throw error;
  }
}
