import type { BuildLine, BuildLogLine, BuildRecordAnswer } from '../../api-types/build.ts';
import { familiar, parseReference } from '../../oci/reference.ts';
import { PlainProgress } from '../build/plain-progress.ts';
import { showDuration } from '../build/vertices.ts';
import { route } from '../client/client.ts';
import { jsonLines } from '../client/lines.ts';
import type { Context } from '../command.ts';
import { printListing } from '../format/listing.ts';
import { ellipsis, humanAge } from '../format/units.ts';

const idDigits = 12;

/** `slipway build ls`: builds that the daemon remembers, the latest first. */
export async function listBuilds(
  { client, output }: Context,
  options: { format?: string | undefined; quiet?: boolean | undefined },
): Promise<void> {
  const builds = await client.get<BuildRecordAnswer[]>('/slipway/builds');
  const nowMs = Date.now();
  const rows = builds.map((build) => ({
    ID: build.id.slice(0, idDigits),
    Name: build.name,
    State: build.state,
    Image: build.tags[0] === undefined ? (build.imageId?.slice(7, 19) ?? '') : familiar(parseReference(build.tags[0])),
    Vertices: `${build.cachedVertices}/${build.vertices}`,
    Started: humanAge(build.startedAtMs, nowMs),
    Duration: showDuration((build.finishedAtMs ?? (build.state === 'running' ? nowMs : build.startedAtMs)) - build.startedAtMs),
    Error: ellipsis((build.error ?? '').replace(/\s+/g, ' '), 60),
  }));
  const columns = {
    table: ['ID', 'Name', 'State', 'Image', 'Vertices', 'Started', 'Duration', 'Error'],
    titles: { Vertices: 'CACHED' },
    quiet: 'ID',
  };
  printListing(output, rows, columns, options);
}

export async function inspectBuild({ client, output }: Context, id: string): Promise<void> {
  output.line(JSON.stringify(await client.get<BuildRecordAnswer>(route`/slipway/builds/${id}`), null, 4));
}

/** Everything that a build said, as `--progress plain` shows it while it runs. */
export async function buildLogs({ client, output }: Context, id: string): Promise<void> {
  let atMs = 0;
  const progress = new PlainProgress(
    (text) => output.write(text),
    () => atMs,
  );
  for await (const line of jsonLines<BuildLogLine>(await client.call('GET', route`/slipway/builds/${id}/log`))) {
    atMs = line.atMs;
    progress.line(line as BuildLine);
  }
  progress.close();
}
