import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { ConsoleSocket } from '../kernel/console-socket.ts';
import { bytesWaiting, openTerminalPeer, pipe, setWindowSize, socketStream } from '../kernel/stdio.ts';
import type { ExecRecord } from './port.ts';

export type Size = { rows: number; columns: number };

/** One stream out of a process, and how to see what still waits in it. */
export type ExecOutput = {
  stream: 'stdout' | 'stderr';
  source: Socket;
  /** Bytes that were written and not yet given out as `data`. */
  pendingBytes(): number;
};

/** The engine's ends of an added process's standard streams. */
export type ExecStdio = {
  stdin: Socket | undefined;
  outputs: readonly ExecOutput[];
  resize?: (size: Size) => void;
};

/** What the runtime is started with: descriptors for its child, and a socket where it hands over a terminal. */
export type ExecEnds = {
  child: (number | 'ignore')[];
  console: ConsoleSocket | undefined;
  /** The engine's side, once the runtime has ended well. */
  open(): ExecStdio;
  /** Instead of `open`, when the process never began. */
  close(): void;
};

type Wanted = Pick<ExecRecord, 'tty' | 'openStdin' | 'attachStdout' | 'attachStderr'>;

export function execEnds(record: Wanted, directory: string, detach: boolean): ExecEnds {
  return record.tty ? terminalEnds(join(directory, 'console')) : pipeEnds(record, detach);
}

function terminalEnds(path: string): ExecEnds {
  const socket = new ConsoleSocket(path);
  return {
    child: ['ignore', 'ignore', 'ignore'],
    console: socket,
    open() {
      const master = socket.receive();
      socket[Symbol.dispose]();
      // Held open, the other side has no end of its own: it would show as an error, which takes what was not read yet along.
      const peer = openTerminalPeer(master);
      const stream = socketStream(master);
      stream.on('close', () => closeSync(peer));
      return {
        stdin: stream,
        outputs: [output('stdout', stream, master)],
        resize: (size) => {
          if (!stream.destroyed) setWindowSize(master, size);
        },
      };
    },
    close: () => socket[Symbol.dispose](),
  };
}

/** Real pipes, since a program may open /dev/stdout anew. What nobody wants goes to /dev/null, so that a detached process outlives the engine. */
function pipeEnds(record: Wanted, detach: boolean): ExecEnds {
  const stdin = record.openStdin && !detach ? pipe() : undefined;
  const stdout = record.attachStdout && !detach ? pipe() : undefined;
  const stderr = record.attachStderr && !detach ? pipe() : undefined;
  const theirs = [stdin?.read, stdout?.write, stderr?.write];
  const closeTheirs = () => {
    for (const fd of theirs.splice(0)) if (fd !== undefined) closeSync(fd);
  };
  return {
    child: theirs.map((fd) => fd ?? 'ignore'),
    console: undefined,
    open() {
      closeTheirs();
      return {
        stdin: stdin && writingEnd(stdin.write),
        outputs: [...(stdout ? [readingEnd('stdout', stdout.read)] : []), ...(stderr ? [readingEnd('stderr', stderr.read)] : [])],
      };
    },
    close() {
      closeTheirs();
      for (const fd of [stdin?.write, stdout?.read, stderr?.read]) if (fd !== undefined) closeSync(fd);
    },
  };
}

/** A process that ends without reading its input is judged by its exit status. */
function writingEnd(fd: number): Socket {
  return new Socket({ fd, readable: false, writable: true }).on('error', () => undefined);
}

function readingEnd(stream: ExecOutput['stream'], fd: number): ExecOutput {
  return output(stream, new Socket({ fd, readable: true, writable: false }), fd);
}

function output(stream: ExecOutput['stream'], source: Socket, fd: number): ExecOutput {
  source.on('error', () => source.destroy());
  return { stream, source, pendingBytes: () => (source.destroyed ? 0 : bytesWaiting(fd) + source.readableLength) };
}
