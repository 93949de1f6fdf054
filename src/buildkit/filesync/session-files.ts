import { EngineError } from '../../base/errors.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import type { Session } from '../session/sessions.ts';
import type { FolderMemory } from './folder-memory.ts';
import { type FileSelection, metadataOf } from './metadata.ts';
import { pipeToJob } from './piped-stream.ts';
import type { ReceiveParams, ReceiveProgress, ReceiveResult } from './receive-job.ts';
import type { SendParams, SendResult } from './send-job.ts';

type Options = { store: Pick<Store, 'jobs' | 'trees' | 'paths'>; memory: FolderMemory };
const receiveMethod = '/moby.filesync.v1.FileSync/DiffCopy';
const sendMethod = '/moby.filesync.v1.FileSend/DiffCopy';

/** Files between a session's client and the store. */
export class SessionFiles {
  readonly #store: Options['store'];
  readonly #memory: FolderMemory;

  constructor({ store, memory }: Options) {
    this.#store = store;
    this.#memory = memory;
  }

  /**
   * What the client has in a folder that it offers. Only files come that are not as they were last time. NotFound `SESSION_NOT_FOUND` when it offers no such folder;
   * InvalidArgument `CONTEXT_UNREADABLE`.
   */
  async receive(
    session: Session,
    selection: FileSelection,
    options: { lease: Lease; signal: AbortSignal; onProgress?: ((receivedBytes: number) => void) | undefined },
  ): Promise<ReceiveResult> {
    const what = `the files of "${selection.name}"`;
    if (!session.serves(receiveMethod)) throw notServed(what);
    const earlier = await this.#earlier(session, selection, options.lease);
    const signal = AbortSignal.any([options.signal, session.channel.closed]);
    const stream = () => session.channel.stream(receiveMethod, metadataOf(selection));
    const received = await pipeToJob(
      stream,
      ({ input, output }, stopped) => {
        const params: ReceiveParams = { input, output, earlier };
        const onProgress = (progress: unknown) => options.onProgress?.((progress as ReceiveProgress).receivedBytes);
        return this.#store.jobs.run<ReceiveResult>('buildkit.receive', params, {
          lane: 'stream',
          signal: stopped,
          lease: options.lease,
          onProgress,
        });
      },
      { what, tmpDir: this.#store.paths.tmp, signal, takeAll: false },
    );
    if (session.sharedKey !== '') await this.#memory.put(session.sharedKey, folderOf(selection), received.id);
    return received;
  }

  /** Writes a tree into the folder that the client named for its exporter of that number. */
  async send(
    session: Session,
    tree: TreeRef,
    options: { exporter: number; under?: string | undefined; signal: AbortSignal },
  ): Promise<SendResult> {
    const what = 'writing the result into a folder of the client';
    if (!session.serves(sendMethod)) throw notServed(what);
    const signal = AbortSignal.any([options.signal, session.channel.closed]);
    const stream = () => session.channel.stream(sendMethod, { 'buildkit-attachable-exporter-id': [String(options.exporter)] });
    return pipeToJob(
      stream,
      ({ input, output }, stopped) => {
        const params: SendParams = { input, output, tree: tree.id, under: options.under };
        return this.#store.jobs.run<SendResult>('buildkit.send', params, { lane: 'stream', signal: stopped });
      },
      { what, tmpDir: this.#store.paths.tmp, signal, takeAll: true },
    );
  }

  /** The tree of last time, unless it was collected. */
  async #earlier(session: Session, selection: FileSelection, lease: Lease): Promise<TreeId | undefined> {
    if (session.sharedKey === '') return undefined;
    const id = await this.#memory.get(session.sharedKey, folderOf(selection));
    if (id === undefined) return undefined;
    try {
      await this.#store.trees.get(id);
      await lease.add('tree', id);
      return id;
    } catch (error) {
      if (error instanceof EngineError && error.kind === 'NotFound') return undefined;
      throw error;
    }
  }
}

function folderOf({ kind, name }: FileSelection): string {
  return `${kind}\0${name}`;
}

function notServed(what: string): EngineError {
  return new EngineError('InvalidArgument', 'SESSION_UNSUPPORTED', `${what}: the client's session does not serve them`);
}
