import type { FastifyInstance } from 'fastify';
import type { BuildRecordAnswer } from '../../api-types/build.ts';
import type { BootstrapLine, DiffLine, EntryKind } from '../../api-types/own.ts';
import { toText } from '../../base/bytes.ts';
import { parseHex } from '../../oci/digest.ts';
import { type Entry, EntryType, type TreeId } from '../../store/model.ts';
import type { Change } from '../../store/port.ts';
import { bodyOf } from '../decode.ts';
import { tellImage } from '../image-events.ts';
import { Query } from '../query.ts';
import { bootstrapRequest } from '../schemas/resources.ts';
import type { Services } from '../services.ts';
import { jsonLines, sendChunks, streamLines } from '../stream.ts';

const kindNames: Record<EntryType, EntryKind> = {
  [EntryType.file]: 'file',
  [EntryType.directory]: 'directory',
  [EntryType.symlink]: 'symlink',
  [EntryType.charDevice]: 'char',
  [EntryType.blockDevice]: 'block',
  [EntryType.fifo]: 'fifo',
};

/** Slipway's own routes except run; docs/formats/api.md is their contract. */
export function slipwayRoutes(app: FastifyInstance, services: Services): void {
  app.get('/slipway/diff', async (request, reply) => {
    const query = new Query(request.query);
    const { images, trees } = services.store;
    const [from, to] = await Promise.all([images.resolve(query.required('from')), images.resolve(query.required('to'))]);
    const compare = query.string('compare') === 'content' ? 'content' : 'full';
    await streamLines(reply, services.shutdown, jsonLines, async (send, signal) => {
      const changes = await trees.diff(from.tree, to.tree, { signal, compare });
      for (const change of changes) send(diffLine(change));
      const totals = summarize(changes);
      send({ kind: 'result', from: { id: from.id, tree: from.tree }, to: { id: to.id, tree: to.tree }, ...totals } satisfies DiffLine);
    });
  });

  app.get<{ Params: { tree: string } }>('/slipway/trees/:tree/tar', async (request, reply) => {
    const tree = parseHex(request.params.tree) as TreeId;
    await services.store.trees.get(tree);
    await sendChunks(reply, services.shutdown, 'application/x-tar', (signal) => services.archives.exportTree(tree, { signal }));
  });

  app.post('/slipway/bootstrap', async (request, reply) => {
    const body = bodyOf(request.body, bootstrapRequest, { required: true });
    await streamLines(reply, services.shutdown, jsonLines, async (send, signal) => {
      const onProgress = (message: string) => send({ kind: 'progress', message } satisfies BootstrapLine);
      const { image, cached } = await services.bootstrap(body, { onProgress, signal });
      tellImage(services.events, 'import', image, body.reference);
      const { id: imageId, sizeBytes } = image;
      send({ kind: 'result', imageId, reference: body.reference, sizeBytes, cached } satisfies BootstrapLine);
    });
  });

  app.get('/slipway/builds', (): Promise<BuildRecordAnswer[]> => services.builds.list());
  app.get<{ Params: { id: string } }>(
    '/slipway/builds/:id',
    (request): Promise<BuildRecordAnswer> => services.builds.get(request.params.id),
  );
  app.get<{ Params: { id: string } }>('/slipway/builds/:id/log', async (request, reply) => {
    const { id } = await services.builds.get(request.params.id);
    await sendChunks(reply, services.shutdown, 'application/x-ndjson', () => services.builds.log(id));
  });

  app.get('/slipway/df', () => services.diskUsage());
  app.get('/slipway/host', () => services.hostReport());
}

function diffLine({ kind, path, before, after }: Change): DiffLine {
  const entry = after ?? before;
  return {
    kind,
    path: toText(path),
    type: kindNames[entry?.type ?? EntryType.file],
    ...(before?.type === EntryType.file ? { before: before.size } : {}),
    ...(after?.type === EntryType.file ? { after: after.size } : {}),
  };
}

function summarize(changes: readonly Change[]): {
  added: number;
  modified: number;
  deleted: number;
  bytesAdded: number;
  bytesDeleted: number;
} {
  const totals = { added: 0, modified: 0, deleted: 0, bytesAdded: 0, bytesDeleted: 0 };
  for (const { kind, before, after } of changes) {
    totals[kind] += 1;
    if (contentOf(before) === contentOf(after)) continue;
    totals.bytesAdded += after?.type === EntryType.file ? after.size : 0;
    totals.bytesDeleted += before?.type === EntryType.file ? before.size : 0;
  }
  return totals;
}

function contentOf(entry: Entry | undefined): string | undefined {
  return entry?.type === EntryType.file ? entry.object : undefined;
}
