import { closeSync } from 'node:fs';
import { check, declare, declareBlocking, failure, lastErrno, pinned, SystemCallError } from './libc.ts';
import { inNetns } from './namespace.ts';

const libcSocket = declare('int socket(int, int, int)');
const libcBind = declare('int bind(int, uintptr_t, uint)');
const libcSetsockopt = declare('int setsockopt(int, int, int, uintptr_t, uint)');
const libcRecv = declare('long recv(int, uintptr_t, uint64_t, int)');
const libcIoctl = declare('int ioctl(int, uint64_t, uintptr_t)');
const sendBlocking = declareBlocking('long send(int, uintptr_t, uint64_t, int)');

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const MSG_DONTWAIT = 0x40;
const SIOCGIFINDEX = 0x8933;

const families = { route: 0, netfilter: 12 } as const;

const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLM_F_DUMP = 0x300;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSGERR_ATTR_MSG = 1;
const headerBytes = 16;

/** A message without its header: the type (for netfilter `subsystem << 8 | command`), flags beside REQUEST and ACK, and what follows. */
export type NetlinkMessage = { readonly type: number; readonly flags: number; readonly payload: Buffer; readonly what: string };

/** The kernel refused a message. `code` is the errno's name; the message says what was asked and, where the kernel does, why not. */
export class NetlinkError extends SystemCallError {
  constructor(what: string, errno: number, reason: string | undefined) {
    super(`netlink ${what}`, errno, undefined, reason);
    this.name = 'NetlinkError';
  }
}

/** An attribute: `value` is bytes, or attributes nested in it. Padded to four bytes (netlink(7)). */
export function attribute(type: number, value: Buffer | readonly Buffer[]): Buffer {
  const NLA_F_NESTED = 0x8000;
  const nested = !Buffer.isBuffer(value);
  const content = nested ? Buffer.concat(value) : value;
  const bytes = Buffer.alloc(4 + Math.ceil(content.length / 4) * 4);
  bytes.writeUInt16LE(4 + content.length, 0);
  bytes.writeUInt16LE(nested ? type | NLA_F_NESTED : type, 2);
  content.copy(bytes, 4);
  return bytes;
}

/** Attributes by type, of the last of each; flags in the type are left out. Stops at the first that does not fit. */
export function parseAttributes(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < 4 || at + length > bytes.length) break;
    found.set(bytes.readUInt16LE(at + 2) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += Math.ceil(length / 4) * 4;
  }
  return found;
}

/** Memory that a call on another thread reads: a socket has one at a time. */
const bufferBytes = 32_768;
const idleBuffers: ReturnType<typeof pinned>[] = [];
const receiveBuffer = pinned(65_536);
const scratch = pinned(64);

/** Sends under way, of all sockets: the kernel has one lock for them, and those that wait for it must not take up the pool of threads. */
const lanes = 2;
let sending = 0;
const waiting: (() => void)[] = [];

async function inLane<T>(send: () => Promise<T>): Promise<T> {
  if (sending >= lanes) await new Promise<void>((resolve) => waiting.push(resolve));
  else sending++;
  try {
    return await send();
  } finally {
    const next = waiting.shift();
    if (next === undefined) sending--;
    else next();
  }
}

/**
 * A netlink socket of one network namespace. The kernel works through a request inside send(2), which may wait for its network lock (tens of
 * milliseconds beside the end of namespaces); so sending goes to a thread of libuv's pool, and the answers, which are there by then, are
 * read here. Requests on one socket are carried out in the order of the calls.
 */
export class NetlinkSocket implements Disposable {
  private readonly fd: number;
  private sequence = 0;
  private last: Promise<unknown> = Promise.resolve();

  /** Of the namespace at `netns`, or of this thread's. */
  constructor(family: keyof typeof families, netns?: string | undefined) {
    const open = () => check(libcSocket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, families[family]), `socket netlink ${family}`);
    this.fd = netns === undefined ? open() : inNetns(netns, open);
    try {
      this.setOption(NETLINK_CAP_ACK);
      this.setOption(NETLINK_EXT_ACK);
      scratch.buffer.fill(0);
      scratch.view.setUint16(0, AF_NETLINK, true);
      check(libcBind(this.fd, scratch.address, 12), 'bind netlink');
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }

  /**
   * Sends the messages with one call and waits for each to be carried out. The kernel goes on behind one that fails: NetlinkError names the
   * first of those.
   */
  request(messages: readonly NetlinkMessage[]): Promise<void> {
    return this.inTurn(() => this.requestNow(messages));
  }

  /** The parts of a listing, each without its header. */
  list(message: NetlinkMessage): Promise<Buffer[]> {
    return this.inTurn(() => this.listNow(message));
  }

  /** One answer, without its header. */
  get(message: NetlinkMessage): Promise<Buffer> {
    return this.inTurn(() => this.getNow(message));
  }

  private inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = this.last.then(task);
    this.last = result.catch(() => {});
    return result;
  }

  private async requestNow(messages: readonly NetlinkMessage[]): Promise<void> {
    const first = await this.send(messages, NLM_F_ACK);
    let failed: NetlinkError | undefined;
    for (let left = messages.length; left > 0; ) {
      for (const { type, flags, sequence, payload } of this.receive()) {
        if (type !== NLMSG_ERROR || sequence < first) continue;
        left--;
        failed ??= errorOf(flags, payload, messages[sequence - first]?.what ?? 'request');
      }
    }
    if (failed !== undefined) throw failed;
  }

  private async listNow(message: NetlinkMessage): Promise<Buffer[]> {
    const first = await this.send([message], NLM_F_DUMP);
    const parts: Buffer[] = [];
    for (;;) {
      for (const { type, flags, sequence, payload } of this.receive()) {
        if (sequence !== first) continue;
        const failed = type === NLMSG_ERROR ? errorOf(flags, payload, message.what) : undefined;
        if (failed !== undefined) throw failed;
        if (type === NLMSG_DONE || type === NLMSG_ERROR) return parts;
        parts.push(Buffer.from(payload));
      }
    }
  }

  private async getNow(message: NetlinkMessage): Promise<Buffer> {
    const first = await this.send([message], 0);
    for (;;) {
      for (const { type, flags, sequence, payload } of this.receive()) {
        if (sequence !== first) continue;
        const failed = type === NLMSG_ERROR ? errorOf(flags, payload, message.what) : undefined;
        if (failed !== undefined) throw failed;
        return Buffer.from(payload);
      }
    }
  }

  /** The number of an interface in the socket's namespace. NetlinkError ENODEV. */
  indexOf(name: string): number {
    scratch.buffer.fill(0, 0, 40);
    scratch.buffer.write(name.slice(0, 15), 0, 'latin1');
    if (libcIoctl(this.fd, SIOCGIFINDEX, scratch.address) === -1) throw new NetlinkError(`interface ${name}`, lastErrno(), undefined);
    return scratch.view.getInt32(16, true);
  }

  private setOption(option: number): void {
    scratch.view.setUint32(0, 1, true);
    check(libcSetsockopt(this.fd, SOL_NETLINK, option, scratch.address, 4), 'setsockopt netlink');
  }

  /** Gives the sequence number of the first message; the others follow. */
  private async send(messages: readonly NetlinkMessage[], flags: number): Promise<number> {
    const first = this.sequence + 1;
    this.sequence += messages.length;
    const memory = idleBuffers.pop() ?? pinned(bufferBytes);
    try {
      let length = 0;
      for (const [i, message] of messages.entries()) length += writeMessage(memory, length, message, flags, first + i);
      const sent = await inLane(() => sendBlocking(this.fd, memory.address, length, 0));
      if (sent !== length) throw failure('send netlink', messages[0]?.what);
      return first;
    } finally {
      idleBuffers.push(memory);
    }
  }

  private receive(): { type: number; flags: number; sequence: number; payload: Buffer }[] {
    const length = Number(check(libcRecv(this.fd, receiveBuffer.address, receiveBuffer.buffer.length, MSG_DONTWAIT), 'recv netlink'));
    const messages: { type: number; flags: number; sequence: number; payload: Buffer }[] = [];
    const { view, buffer } = receiveBuffer;
    for (let at = 0; at + headerBytes <= length; ) {
      const size = view.getUint32(at, true);
      if (size < headerBytes || at + size > length) break;
      messages.push({
        type: view.getUint16(at + 4, true),
        flags: view.getUint16(at + 6, true),
        sequence: view.getUint32(at + 8, true),
        payload: buffer.subarray(at + headerBytes, at + size),
      });
      at += Math.ceil(size / 4) * 4;
    }
    return messages;
  }
}

function writeMessage(
  { buffer, view }: ReturnType<typeof pinned>,
  at: number,
  { type, flags, payload, what }: NetlinkMessage,
  extraFlags: number,
  sequence: number,
): number {
  const size = Math.ceil((headerBytes + payload.length) / 4) * 4;
  if (at + size > bufferBytes) throw new RangeError(`netlink request too long at ${what}`);
  view.setUint32(at, headerBytes + payload.length, true);
  view.setUint16(at + 4, type, true);
  view.setUint16(at + 6, NLM_F_REQUEST | flags | extraFlags, true);
  view.setUint32(at + 8, sequence, true);
  view.setUint32(at + 12, 0, true);
  payload.copy(buffer, at + headerBytes);
  buffer.fill(0, at + headerBytes + payload.length, at + size);
  return size;
}

/** Undefined for an acknowledgement. */
function errorOf(flags: number, payload: Buffer, what: string): NetlinkError | undefined {
  const errno = -payload.readInt32LE(0);
  if (errno === 0) return undefined;
  // The error is followed by the header of the request, or by all of it, and then by what the kernel says to it.
  const requestBytes = flags & NLM_F_CAPPED ? headerBytes : payload.readUInt32LE(4);
  const said =
    flags & NLM_F_ACK_TLVS ? parseAttributes(payload.subarray(4 + Math.ceil(requestBytes / 4) * 4)).get(NLMSGERR_ATTR_MSG) : undefined;
  return new NetlinkError(what, errno, said?.toString('utf8').replace(/\0.*$/s, ''));
}
