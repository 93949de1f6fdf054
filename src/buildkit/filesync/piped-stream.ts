import { closeSync, constants, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import type { ClientHttp2Stream } from 'node:http2';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import { mkfifo } from '../../kernel/files.ts';
import { malformed } from '../grpc/frames.ts';
import { statusOf } from '../grpc/status.ts';

/** A client that sends nothing for that long, though something is due, holds a thread for nothing. */
const idleMs = 120_000;
/** How long the peer may take to end a stream of which everything has come. */
const endMs = 5_000;
/** How long it may take to say why it ended one too soon. */
const tellMs = 1_000;
/** What a peer may ask for while the job is busy sending; a request has a dozen bytes. */
const maxQueuedBytes = 128 * 1024 * 1024;

/** A pipe's own size: more at once would wait in any case. */
const gatherBytes = 64 * 1024;

/** Descriptors of this process for the job's ends of two pipes: what the peer sends, and what is sent to it. Reads and writes of them block. */
export type Pipes = { readonly input: number; readonly output: number };

/**
 * Lets a job in a thread of its own speak over a gRPC stream, frames and all, through two pipes: the bytes pass this thread and are not looked at. Resolves with the job's
 * result once the peer ended the stream as well. A status other than OK is thrown as an error of the engine; it goes before the job's own.
 */
export async function pipeToJob<R>(
  openStream: () => ClientHttp2Stream,
  run: (pipes: Pipes, signal: AbortSignal) => Promise<R>,
  { what, tmpDir, signal, takeAll }: { what: string; tmpDir: string; signal: AbortSignal; takeAll: boolean },
): Promise<R> {
  const folder = await mkdtemp(join(tmpDir, 'grpc-'));
  const pipes = openPipes(folder);
  await rm(folder, { recursive: true, force: true });
  const failed = new AbortController();
  const stopped = AbortSignal.any([signal, failed.signal]);
  // A job that waits in a read or a write of its pipe notices nothing else.
  stopped.addEventListener('abort', pipes.cut, { once: true });
  // Not sooner: one that ends while nobody reads it loses what it had.
  let stream: ClientHttp2Stream | undefined;
  try {
    stream = openStream();
    const status = statusOf(stream, what);
    const stop = (reason: unknown) => failed.abort(reason);
    status.then((error) => error && stop(error), stop);
    forward(stream, pipes.toJob, { takeAll, stop });
    pipes.fromJob.pipe(stream, { end: false });
    const result = await run(pipes, stopped).catch(async (error: unknown) => {
      signal.throwIfAborted();
      failed.signal.throwIfAborted();
      // Where the stream ended too soon, its status is about to say why.
      throw (isLost(error) ? await within(status, tellMs) : undefined) ?? error;
    });
    await pipes.drained();
    stream.end();
    const error = await within(status, endMs);
    if (error !== undefined) throw error;
    return result;
  } finally {
    stopped.removeEventListener('abort', pipes.cut);
    pipes.close();
    if (stream !== undefined && !stream.closed) stream.close();
  }
}

type OpenPipes = Pipes & {
  readonly toJob: Socket;
  readonly fromJob: Socket;
  /** The job's reads end and its writes fail. */
  cut(): void;
  /** The job is over: waits until what it wrote is on its way. */
  drained(): Promise<void>;
  close(): void;
};

/** The job's ends are opened here, for good: who opens a pipe without a peer waits for one, who may have come and gone. */
function openPipes(folder: string): OpenPipes {
  const [input, toJob] = openPipe(join(folder, 'in'), 'r');
  const [output, fromJob] = openPipe(join(folder, 'out'), 'w');
  let outputOpen = true;
  const endOutput = () => {
    if (outputOpen) closeSync(output);
    outputOpen = false;
  };
  const cut = () => {
    toJob.destroy();
    fromJob.destroy();
  };
  return {
    input,
    output,
    toJob,
    fromJob,
    cut,
    async drained() {
      endOutput();
      if (!fromJob.readableEnded && !fromJob.destroyed) await new Promise<void>((resolve) => fromJob.once('close', () => resolve()));
    },
    close() {
      cut();
      endOutput();
      closeSync(input);
    },
  };
}

/** A pipe whose one end blocks and whose other end does not. */
function openPipe(path: string, jobs: 'r' | 'w'): [job: number, own: Socket] {
  mkfifo(path, 0o600);
  const both = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  try {
    const job = openSync(path, jobs);
    const fd = openSync(path, (jobs === 'r' ? constants.O_WRONLY : constants.O_RDONLY) | constants.O_NONBLOCK);
    const own = new Socket({ fd, readable: jobs === 'w', writable: jobs === 'r' });
    own.on('error', () => own.destroy());
    return [job, own];
  } finally {
    closeSync(both);
  }
}

/**
 * Small messages come one by one, each in a frame of HTTP/2: they go on together, since a write of each would cost more than all the rest. A job that is behind slows the
 * peer down, but with `takeAll`: then the peer may stop reading while it waits to be read.
 */
function forward(stream: ClientHttp2Stream, toJob: Socket, { takeAll, stop }: { takeAll: boolean; stop: (reason: unknown) => void }): void {
  const silent = new EngineError('Unavailable', 'SESSION_SILENT', `the client has been silent for ${idleMs / 1000} seconds`);
  stream.setTimeout(idleMs, () => stop(silent));
  let gathered: Buffer[] = [];
  let bytes = 0;
  const flush = () => {
    if (gathered.length === 0 || toJob.destroyed) return;
    const chunk = gathered.length === 1 ? gathered[0] : Buffer.concat(gathered, bytes);
    gathered = [];
    bytes = 0;
    const room = toJob.write(chunk as Buffer);
    if (takeAll && toJob.writableLength > maxQueuedBytes) stop(malformed('it asks for far more than there is'));
    if (!room && !takeAll) stream.pause();
  };
  toJob.on('drain', () => stream.resume());
  stream.on('data', (chunk: Buffer) => {
    if (gathered.push(chunk) === 1) setTimeout(flush, 1);
    bytes += chunk.length;
    if (bytes >= gatherBytes) flush();
  });
  stream.on('end', () => {
    flush();
    if (!toJob.destroyed) toJob.end();
  });
}

function isLost(error: unknown): boolean {
  return error instanceof EngineError && error.code === 'SESSION_LOST';
}

/** Undefined when it takes longer. */
async function within<T>(promise: Promise<T>, milliseconds: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
