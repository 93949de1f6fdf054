import { closeSync, openSync, unlinkSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { O } from './files.ts';
import { check, declare, pinned, SystemCallError } from './libc.ts';

const libcSocket = declare('int socket(int, int, int)');
const libcBind = declare('int bind(int, uintptr_t, uint)');
const libcListen = declare('int listen(int, int)');
const libcAccept4 = declare('int accept4(int, uintptr_t, uintptr_t, int)');
const libcRecvmsg = declare('int64_t recvmsg(int, uintptr_t, int)');

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const longestPath = 107;

const address = pinned(128);
const header = pinned(56);
const vector = pinned(16);
const bytes = pinned(4096);
/** One cmsghdr with one descriptor: 16 bytes and 4, padded. */
const control = pinned(24);

/**
 * Where a runtime hands over the terminal that it made for a detached process: `--console-socket` of the OCI runtimes, a unix socket on which one
 * message with one descriptor comes (SCM_RIGHTS, unix(7)).
 */
export class ConsoleSocket implements Disposable {
  /** For the runtime's command line; good while this is open. */
  readonly path: string;
  readonly #fd: number;
  readonly #file: string;
  readonly #folder: number | undefined;
  #open = true;

  constructor(file: string) {
    this.#file = file;
    // A socket's path has 107 bytes; through a descriptor of this process any folder can be named in fewer.
    this.#folder = Buffer.byteLength(file) > longestPath ? openSync(dirname(file), O.PATH | O.DIRECTORY | O.CLOEXEC) : undefined;
    this.path = this.#folder === undefined ? file : `/proc/${process.pid}/fd/${this.#folder}/${basename(file)}`;
    this.#fd = check(libcSocket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket', file);
    address.buffer.fill(0);
    address.view.setUint16(0, AF_UNIX, true);
    const length = address.buffer.write(this.path, 2);
    try {
      check(libcBind(this.#fd, address.address, 2 + length + 1), 'bind', file);
      check(libcListen(this.#fd, 1), 'listen', file);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** The descriptor that has been sent, close-on-exec; the caller closes it. Once the runtime has ended well it is there; EAGAIN before. */
  receive(): number {
    const connection = check(libcAccept4(this.#fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC), 'accept4', this.#file);
    try {
      return receiveDescriptor(connection);
    } finally {
      closeSync(connection);
    }
  }

  /** Idempotent. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#fd);
    try {
      unlinkSync(this.path);
    } catch {
      // Its folder may have been removed already.
    }
    if (this.#folder !== undefined) closeSync(this.#folder);
  }
}

function receiveDescriptor(connection: number): number {
  vector.view.setBigUint64(0, BigInt(bytes.address), true);
  vector.view.setBigUint64(8, BigInt(bytes.buffer.length), true);
  header.buffer.fill(0);
  header.view.setBigUint64(16, BigInt(vector.address), true);
  header.view.setBigUint64(24, 1n, true);
  header.view.setBigUint64(32, BigInt(control.address), true);
  header.view.setBigUint64(40, BigInt(control.buffer.length), true);
  control.buffer.fill(0);
  check(libcRecvmsg(connection, header.address, MSG_CMSG_CLOEXEC), 'recvmsg');
  const isRights = control.view.getInt32(8, true) === SOL_SOCKET && control.view.getInt32(12, true) === SCM_RIGHTS;
  if (!isRights || header.view.getBigUint64(40, true) < 20n) throw new SystemCallError('recvmsg', 71, undefined, 'no descriptor was sent');
  return control.view.getInt32(16, true);
}
