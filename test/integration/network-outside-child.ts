import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createNetns } from '../../src/kernel/namespace.ts';
import { LocalNetworks } from '../../src/network/local-networks.ts';
import { ask, shell } from './network-harness.ts';

/**
 * Runs in a network and mount namespace of its own, which plays a host whose firewall forwards nothing by itself; another namespace plays
 * a machine on its wire. Prints what each reaches as JSON. The argument is an empty folder.
 */
const directory = process.argv[2] ?? '';
const outside = join(directory, 'outside');
const [host, machine] = ['198.51.100.1', '198.51.100.2'];

function serve(netns: string, port: number, text: string): Promise<unknown> {
  const script = `require('net').createServer((c)=>c.end('${text}')).listen(${port},()=>console.log('ready'))`;
  const child = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill('SIGKILL'));
  return new Promise((resolve) => child.stdout.once('data', resolve));
}

mkdirSync(directory, { recursive: true });
createNetns(outside);
await shell(
  `ip link set lo up; ip link add up0 type veth peer name out0; ip link set out0 netns ${outside}; ip address add ${host}/24 dev up0; ip link set up0 up`,
);
await shell(`ip link set out0 up; ip address add ${machine}/24 dev out0`, outside);
await shell('iptables -P FORWARD DROP');
const networks = new LocalNetworks({
  directory: join(directory, 'networks'),
  runDirectory: join(directory, 'run'),
  rootId: '0badcafe',
});
const ports = [
  { hostIp: '', hostPort: 8080, containerPort: 80, protocol: 'tcp' as const },
  { hostIp: '127.0.0.1', hostPort: 8081, containerPort: 80, protocol: 'tcp' as const },
];
const { netns } = await networks.attach('c1', [{ name: 'bridge' }], ports, { containerName: 'web', hostname: 'web' });
await serve(netns, 80, 'container');
await serve(outside, 81, 'machine');
const published = await ask(host, 8080, outside);
const outward = await ask(machine, 81, netns);
// Addressed to 127.0.0.1 but sent over the wire.
await shell(
  `ip route flush table local 127.0.0.0/8; sysctl -qw net.ipv4.conf.out0.route_localnet=1; ip route add 127.0.0.1/32 via ${host} dev out0`,
  outside,
);
const loopbackFromWire = await ask('127.0.0.1', 8081, outside);
const loopbackFromHost = await ask('127.0.0.1', 8081);
await networks.dismantle();
process.stdout.write(JSON.stringify({ published, outward, loopbackFromWire, loopbackFromHost }));
process.exit(0);
