import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { LocalNetworks } from '../../src/network/local-networks.ts';
import type { LocalNetworksOptions } from '../../src/network/parts.ts';

const aardvarkPath = '/usr/lib/podman/aardvark-dns';
const run = promisify(execFile);
const environment = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

export const needs =
  (process.getuid?.() !== 0 && 'needs root') ||
  (!existsSync(aardvarkPath) && 'needs aardvark-dns') ||
  (!existsSync('/bin/busybox') && 'needs busybox-static');

export type Engine = { networks: LocalNetworks; rootId: string; directory: string; log: string[]; reopen(): LocalNetworks };

/** Networks of a root of their own, off the host again when the test ends, however it ends. */
export async function openNetworks(t: TestContext, options: Partial<LocalNetworksOptions> = {}): Promise<Engine> {
  const directory = await mkdtemp(join(tmpdir(), 'slipway-network-'));
  const rootId = randomBytes(4).toString('hex');
  const log: string[] = [];
  const open = () =>
    new LocalNetworks({
      directory: join(directory, 'networks'),
      runDirectory: join(directory, 'run'),
      rootId,
      aardvarkPath,
      log: (message) => log.push(message),
      ...options,
    });
  const engine: Engine = {
    networks: open(),
    rootId,
    directory,
    log,
    reopen: () => {
      engine.networks = open();
      return engine.networks;
    },
  };
  t.after(async () => {
    await engine.networks.dismantle();
    await rm(directory, { recursive: true });
  });
  return engine;
}

/** Standard output of a shell command; its exit status is not looked at. */
export async function shell(command: string, netns?: string): Promise<string> {
  const [file, args]: [string, string[]] = netns ? ['nsenter', [`--net=${netns}`, 'sh', '-c', command]] : ['sh', ['-c', command]];
  return run(file, args, { env: environment }).then(
    ({ stdout }) => stdout.trim(),
    (error: { stdout?: string }) => error.stdout?.trim() ?? '',
  );
}

/** A TCP server in a namespace that sends `text` to whoever connects. Ready when this resolves. */
export async function serveText(t: TestContext, netns: string | undefined, port: number, text: string, ip = '0.0.0.0'): Promise<void> {
  const script = `const s=require('net').createServer((c)=>c.end(${JSON.stringify(text)}));s.listen(${port},${JSON.stringify(ip)},()=>console.log('ready'))`;
  await background(t, netns, script);
}

/** A TCP server of both families that tells whoever connects its address. */
export async function servePeer(t: TestContext, netns: string | undefined, port: number): Promise<void> {
  const script = `require('net').createServer((c)=>c.end(c.remoteAddress.replace('::ffff:',''))).listen(${port},'::',()=>console.log('ready'))`;
  await background(t, netns, script);
}

/** A DNS server on port 53 that answers every question for an IPv4 address with `ip`. */
export async function serveDns(t: TestContext, netns: string | undefined, ip: string): Promise<void> {
  const script = `const s=require('dgram').createSocket('udp4');
    s.on('message',(m,a)=>{
      const end=m.indexOf(0,12)+5, isA=m.readUInt16BE(end-4)===1;
      const head=Buffer.concat([m.subarray(0,2),Buffer.from([0x81,0x80,0,1,0,isA?1:0,0,0,0,0])]);
      const answer=Buffer.from([0xc0,12,0,1,0,1,0,0,0,60,0,4,${ip.replaceAll('.', ',')}]);
      s.send(Buffer.concat([head,m.subarray(12,end),...(isA?[answer]:[])]),a.port,a.address);
    });s.bind(53,()=>console.log('ready'))`;
  await background(t, netns, script);
}

/** A UDP server that answers every packet with `text`. */
export async function serveUdp(t: TestContext, netns: string, port: number, text: string, ip = '0.0.0.0'): Promise<void> {
  const script = `const s=require('dgram').createSocket('${ip.includes(':') ? 'udp6' : 'udp4'}');s.on('message',(_,a)=>s.send(${JSON.stringify(text)},a.port,a.address));s.bind(${port},${JSON.stringify(ip)},()=>console.log('ready'))`;
  await background(t, netns, script);
}

async function background(t: TestContext, netns: string | undefined, script: string): Promise<void> {
  const node = [process.execPath, '-e', script];
  const [file = '', ...args] = netns === undefined ? node : ['nsenter', `--net=${netns}`, ...node];
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'], env: environment });
  t.after(() => child.kill('SIGKILL'));
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve);
    child.once('exit', (code) => reject(new Error(`the test server ended with ${code}`)));
  });
}

/** What a TCP server at the address says, seen from a namespace (or the host); '' when it is not reached within two seconds. */
export function ask(address: string, port: number, netns?: string): Promise<string> {
  return shell(`busybox timeout 2 busybox nc ${address} ${port} </dev/null`, netns);
}

/** What a UDP server answers to the host; '' when nothing comes within two seconds. */
export function askUdp(address: string, port: number): Promise<string> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  return new Promise<string>((resolve) => {
    const timer = setTimeout(() => resolve(''), 2000);
    socket.once('message', (message) => {
      clearTimeout(timer);
      resolve(message.toString());
    });
    socket.send('hello', port, address);
  }).finally(() => socket.close());
}

/** This host's address on its default route's interface. */
export function hostAddress(): Promise<string> {
  return shell("ip -4 route get 192.0.2.254 | sed -n 's/.* src \\([0-9.]*\\).*/\\1/p'");
}

/** Links, iptables lines and processes that carry a root's id. */
export async function traces(rootId: string): Promise<string> {
  return shell(`{ ip -o link; iptables-save; ip6tables-save; } | grep ${rootId}; pgrep -fa ${rootId} | grep -v pgrep`);
}

/** Tries until it does not throw, for twenty seconds: the kernel ends links and namespaces in its own time. */
export async function eventually(assertion: () => Promise<void>): Promise<void> {
  for (const until = Date.now() + 20_000; ; ) {
    try {
      return await assertion();
    } catch (error) {
      if (Date.now() > until) throw error;
      await sleep(50);
    }
  }
}
