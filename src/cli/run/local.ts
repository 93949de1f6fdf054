import type { Duplex } from 'node:stream';
import type { ReadStream } from 'node:tty';
import { EngineError } from '../../base/errors.ts';
import { DetachWatcher, defaultDetachKeys, parseDetachKeys } from './detach-keys.ts';

export type Size = { rows: number; columns: number };

/** The far end of a foreground session: a container or an exec. */
export type Remote = {
  readonly socket: Duplex;
  /** False when the caller should wait for the socket's `drain`. */
  sendInput(data: Buffer): boolean;
  endInput(): void;
  resize(size: Size): void;
  signal(name: string): void;
  detach(): void;
};

export type LocalOptions = {
  stdin: boolean;
  tty: boolean;
  /** Pass signals on instead of dying of them. */
  proxySignals: boolean;
  detachKeys?: string | undefined;
};

/** Signals that are passed on. Those of job control are left out: ctrl-Z stops the client and not the container. */
const proxied = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGALRM'] as const;

/** Docker refuses `-it` when what is typed does not come from a terminal. */
export function checkTerminal(options: { stdin: boolean; tty: boolean }): void {
  if (options.stdin && options.tty && !process.getBuiltinModule('node:tty').isatty(0)) {
    throw new EngineError('InvalidArgument', 'NO_TERMINAL', 'the input is not a terminal', {
      hint: 'Leave out -t when standard input is a pipe or a file.',
      exitCode: 125,
    });
  }
}

/** Size of the terminal that output goes to; undefined when there is none. */
export function terminalSize(): Size | undefined {
  const tty = process.getBuiltinModule('node:tty');
  const stream = tty.isatty(1) ? process.stdout : tty.isatty(2) ? process.stderr : undefined;
  return stream === undefined ? undefined : { rows: stream.rows, columns: stream.columns };
}

/**
 * Node's raw mode leaves the terminal putting a carriage return before each line feed. The container's own terminal has done so already, or its program has turned it
 * off, as curses programs do, which then draw in the wrong columns. Leaving raw mode sets this back too. Without stty it stays as Node has it.
 */
function keepLineFeeds(): void {
  process.getBuiltinModule('node:child_process').spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
}

/** This side of a foreground session: keyboard or pipe, window size and signals. `close` gives the terminal back. */
export class LocalEnd {
  detached = false;
  readonly #remote: Remote;
  readonly #options: LocalOptions;
  #raw: ReadStream | undefined;
  readonly #undo: (() => void)[] = [];

  constructor(remote: Remote, options: LocalOptions) {
    this.#remote = remote;
    this.#options = options;
  }

  open(): void {
    if (this.#options.tty) this.#followSize();
    if (this.#options.stdin) this.#followInput();
    if (this.#options.proxySignals) this.#followSignals();
    else if (this.#raw !== undefined) this.#restoreOnSignals();
  }

  close(): void {
    for (const undo of this.#undo.splice(0)) undo();
  }

  #followInput(): void {
    const { stdin } = process;
    if (this.#options.tty) {
      stdin.setRawMode(true);
      keepLineFeeds();
      this.#raw = stdin;
      this.#undo.push(() => stdin.setRawMode(false));
    }
    const { detachKeys } = this.#options;
    const watcher =
      this.#options.tty && detachKeys !== '' ? new DetachWatcher(parseDetachKeys(detachKeys ?? defaultDetachKeys)) : undefined;
    const resume = () => stdin.resume();
    stdin.on('data', (data: Buffer) => {
      const { forward, detached } = watcher?.push(data) ?? { forward: data, detached: false };
      if (forward.length > 0 && !this.#remote.sendInput(forward)) {
        stdin.pause();
        this.#remote.socket.once('drain', resume);
      }
      if (detached) this.#detach();
    });
    stdin.once('end', () => this.#remote.endInput());
    stdin.once('error', () => this.#remote.endInput());
    this.#undo.push(() => stdin.pause());
  }

  #detach(): void {
    this.detached = true;
    this.#remote.detach();
  }

  #followSize(): void {
    if (terminalSize() === undefined) return;
    const stream = process.getBuiltinModule('node:tty').isatty(1) ? process.stdout : process.stderr;
    const resized = () => this.#remote.resize({ rows: stream.rows, columns: stream.columns });
    stream.on('resize', resized);
    this.#undo.push(() => stream.off('resize', resized));
  }

  #followSignals(): void {
    for (const name of proxied) {
      const pass = () => this.#remote.signal(name);
      process.on(name, pass);
      this.#undo.push(() => process.off(name, pass));
    }
  }

  /** Without proxying a signal ends the client, which must not leave the terminal raw behind. */
  #restoreOnSignals(): void {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      const end = () => {
        this.close();
        process.kill(process.pid, name);
      };
      process.once(name, end);
      this.#undo.push(() => process.off(name, end));
    }
  }
}
