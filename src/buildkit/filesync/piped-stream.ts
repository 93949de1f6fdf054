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
const idleMs = 300_000;
/** How long the peer may take to end a stream of which everything has come. */
const endMs = 5_000;
/** What a peer may ask for while the job is busy sending; a request has a dozen bytes. */
const maxQueuedBytes = 128 * 1024 * 1024;

/** A pipe's own size: more at once would wait in any case. */
const gatherBytes = 64 * 1024;

export type Pipes = { readonly input: string; readonly output: string };

/**
 * Lets a job in a thread of its own speak over a gRPC stream, frames and all, through two named pipes: the bytes pass this thread and are not looked at. Resolves
 * with the job's result once the peer ended the stream as well. A status other than OK is thrown as an error of the engine; it goes before the job's own.
 */
export async function pipeToJob<R>(
  openStream: () => ClientHttp2Stream,
  run: (pipes: Pipes, signal: AbortSignal) => Promise<R>,
  { what, tmpDir, signal, takeAll }: { what: string; tmpDir: string; signal: AbortSignal; takeAll: boolean },
): Promise<R> {
  const folder = await mkdtemp(join(tmpDir, 'grpc-'));
  const failed = new AbortController();
  // Not sooner: one that ends while nobody reads it loses what it had.
  const stream = openStream();
  const status = statusOf(stream, what);
  const stop = (reason: unknown) => failed.abort(reason);
  status.then((error) => error && stop(error), stop);
  const pipes = openPipes(folder);
  const stopped = AbortSignal.any([signal, failed.signal]);
  // A job that waits in a read or a write of its pipe notices nothing else.
  stopped.addEventListener('abort', pipes.close, { once: true });
  try {
    forward(stream, pipes.toJob, { takeAll, stop });
    pipes.fromJob.pipe(stream, { end: false });
    const result = await run(pipes, stopped).catch(async (error: unknown) => {
      throw signal.aborted ? signal.reason : failed.signal.aborted ? failed.signal.reason : ((await soon(status)) ?? error);
    });
    await drained(pipes);
    stream.end();
    const error = await soon(status);
    if (error !== undefined) throw error;
    return result;
  } finally {
    pipes.close();
    if (!stream.closed) stream.close();
    await rm(folder, { recursive: true, force: true });
  }
}

type OpenPipes = Pipes & {
  readonly toJob: Socket;
  readonly fromJob: Socket;
  /** From now on the job's end is the only one that writes. */
  endOutput(): void;
  close(): void;
};

/** The job's own ends block, which is how it waits; those here do not. The two spare ends keep a pipe from ending before the job has opened it. */
function openPipes(folder: string): OpenPipes {
  const input = join(folder, 'in');
  const output = join(folder, 'out');
  mkfifo(input, 0o600);
  mkfifo(output, 0o600);
  const spareInput = openSync(input, constants.O_RDONLY | constants.O_NONBLOCK);
  const toJob = new Socket({ fd: openSync(input, constants.O_WRONLY | constants.O_NONBLOCK), readable: false, writable: true });
  const fromJob = new Socket({ fd: openSync(output, constants.O_RDONLY | constants.O_NONBLOCK), readable: true, writable: false });
  let spareOutput: number | undefined = openSync(output, constants.O_WRONLY | constants.O_NONBLOCK);
  toJob.on('error', () => toJob.destroy());
  fromJob.on('error', () => fromJob.destroy());
  let open = true;
  const endOutput = () => {
    if (spareOutput !== undefined) closeSync(spareOutput);
    spareOutput = undefined;
  };
  return {
    input,
    output,
    toJob,
    fromJob,
    endOutput,
    close() {
      if (!open) return;
      open = false;
      endOutput();
      toJob.destroy();
      fromJob.destroy();
      closeSync(spareInput);
    },
  };
}

/** Until what the job wrote is on its way. */
async function drained({ fromJob, endOutput }: OpenPipes): Promise<void> {
  endOutput();
  if (fromJob.readableEnded || fromJob.destroyed) return;
  await new Promise<void>((resolve) => {
    fromJob.once('end', resolve);
    fromJob.once('close', () => resolve());
  });
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

async function soon(status: Promise<EngineError | undefined>): Promise<EngineError | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), endMs);
  });
  try {
    return await Promise.race([status, late]);
  } finally {
    clearTimeout(timer);
  }
}
