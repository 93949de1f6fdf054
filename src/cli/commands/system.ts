import type { EventMessage } from '../../api-types/events.ts';
import type { SlipwayDf } from '../../api-types/own.ts';
import type { DiskUsageResponse, InfoResponse, VersionResponse } from '../../api-types/system.ts';
import { EngineError } from '../../base/errors.ts';
import { jsonLines } from '../client/lines.ts';
import { type Context, defineCommand } from '../command.ts';
import { text } from '../flags.ts';
import { formatFlag, printListing } from '../format/listing.ts';
import { compileTemplate } from '../format/template.ts';
import { unescapeFormat } from '../format/template-lexer.ts';
import { binarySize, humanSize } from '../format/units.ts';
import { filterFlag, parseFilters } from '../parse/filters.ts';
import { parseTimestamp } from '../parse/units.ts';
import { clientVersion } from '../version.ts';

const objectFormatFlag = text('json, or a Go template such as "{{.ServerVersion}}"', { short: 'f', value: 'FORMAT' });

/** True when a format asked for something else than the command's own text. */
function printObject({ output }: Context, object: unknown, format: string | undefined): boolean {
  if (format === undefined || format === '') return false;
  output.line(format === 'json' ? JSON.stringify(object) : compileTemplate(unescapeFormat(format), { strict: false })(object));
  return true;
}

export const info = defineCommand({
  summary: 'Show what the engine is and runs on',
  flags: { format: objectFormatFlag },
  async run(context, flags) {
    const found = await context.client.get<InfoResponse>('/info');
    if (printObject(context, found, flags.format)) return;
    const lines: [string, string | number][] = [
      ['Containers', found.Containers],
      [' Running', found.ContainersRunning],
      [' Paused', found.ContainersPaused],
      [' Stopped', found.ContainersStopped],
      ['Images', found.Images],
      ['Server Version', found.ServerVersion],
      ['Snapshotter', found.Driver],
      ['Logging Driver', found.LoggingDriver],
      ['Cgroup Version', found.CgroupVersion],
      ['Runtimes', Object.keys(found.Runtimes).join(' ')],
      ['Default Runtime', found.DefaultRuntime],
      ['Init Binary', found.InitBinary],
      ['Kernel Version', found.KernelVersion],
      ['Operating System', found.OperatingSystem],
      ['Architecture', found.Architecture],
      ['CPUs', found.NCPU],
      ['Total Memory', binarySize(found.MemTotal)],
      ['Name', found.Name],
      ['ID', found.ID],
      ['Root Dir', found.DockerRootDir],
    ];
    for (const [name, value] of lines) context.output.line(`${name}: ${value}`);
    for (const warning of found.Warnings ?? []) context.output.error(`${warning}\n`);
  },
});

export const version = defineCommand({
  summary: 'Show the versions of the command and of the daemon',
  flags: { format: objectFormatFlag },
  async run(context, flags) {
    const client = { Version: clientVersion, ApiVersion: '1.43', NodeVersion: process.version, Os: process.platform, Arch: process.arch };
    let server: VersionResponse | undefined;
    let failure: unknown;
    try {
      server = await context.client.get<VersionResponse>('/version');
    } catch (error) {
      failure = error;
    }
    if (!printObject(context, { Client: client, Server: server ?? null }, flags.format)) {
      context.output.line(
        `Client:\n Version:     ${client.Version}\n API version: ${client.ApiVersion}\n Node:        ${client.NodeVersion}`,
      );
      if (server !== undefined) {
        context.output.line(
          `\nServer:\n Version:     ${server.Version}\n API version: ${server.ApiVersion} (minimum ${server.MinAPIVersion})`,
        );
        context.output.line(` OS/Arch:     ${server.Os}/${server.Arch}\n Kernel:      ${server.KernelVersion}`);
      }
    }
    if (failure !== undefined) throw failure;
  },
});

export const events = defineCommand({
  summary: 'Show what happens, as it happens',
  flags: {
    filter: filterFlag,
    format: formatFlag,
    since: text('From this time on: 10m, 2024-05-01T13:00:00Z or seconds since 1970', { value: 'TIME' }),
    until: text('Up to this time, then end', { value: 'TIME' }),
  },
  async run({ client, output }, flags) {
    const render =
      flags.format === undefined || flags.format === ''
        ? showEvent
        : flags.format === 'json'
          ? JSON.stringify
          : compileTemplate(unescapeFormat(flags.format), { strict: false });
    const now = Date.now();
    const response = await client.call('GET', '/events', {
      query: {
        since: flags.since === undefined ? undefined : parseTimestamp(flags.since, '--since', now),
        until: flags.until === undefined ? undefined : parseTimestamp(flags.until, '--until', now),
        filters: parseFilters(flags.filter),
      },
    });
    try {
      for await (const event of jsonLines<EventMessage>(response)) output.line(render(event));
    } catch (error) {
      if (error instanceof EngineError && error.code === 'ANSWER_CUT')
        throw new EngineError('Unavailable', error.code, 'the daemon has ended');
      throw error;
    }
  },
});

/** Microseconds: the API's nanoseconds do not survive JSON's numbers whole. */
function showEvent(event: EventMessage): string {
  const micros = String(Math.round((event.timeNano % 1e9) / 1000)).padStart(6, '0');
  const time = `${new Date(event.time * 1000).toISOString().slice(0, 19)}.${micros}Z`;
  const attributes = Object.entries(event.Actor.Attributes).sort(([a], [b]) => (a < b ? -1 : 1));
  const shown = attributes.length === 0 ? '' : ` (${attributes.map(([name, value]) => `${name}=${value}`).join(', ')})`;
  return `${time} ${event.Type} ${event.Action} ${event.Actor.ID}${shown}`;
}

export const df = defineCommand({
  summary: 'Show what holds the disk',
  flags: { format: formatFlag },
  async run({ client, output }, flags) {
    const usage = await client.get<SlipwayDf>('/slipway/df');
    const rows = usage.rows.map(({ kind, count, bytes }) => ({
      Kind: kind,
      Count: String(count),
      Size: humanSize(bytes),
      Bytes: String(bytes),
    }));
    printListing(output, rows, { table: ['Kind', 'Count', 'Size'] }, flags);
    if (flags.format === undefined) output.line(`Total: ${humanSize(usage.totalBytes)}`);
  },
});

export const systemDf = defineCommand({
  summary: 'Show what images, containers and volumes hold',
  flags: { format: formatFlag },
  async run({ client, output }, flags) {
    const usage = await client.get<DiskUsageResponse>('/system/df');
    const running = usage.Containers.filter(({ State: state }) => state === 'running' || state === 'paused');
    const usedVolumes = usage.Volumes.filter(({ UsageData: data }) => (data?.RefCount ?? 0) > 0);
    const known = (bytes: number) => (bytes < 0 ? 'N/A' : humanSize(bytes));
    const sum = (values: (number | undefined)[]) => values.reduce<number>((total, value) => total + Math.max(0, value ?? 0), 0);
    const rows = [
      row('Images', usage.Images.length, usage.Images.filter(({ Containers: users }) => users > 0).length, known(usage.LayersSize)),
      row('Containers', usage.Containers.length, running.length, known(sum(usage.Containers.map(({ SizeRw: size }) => size)))),
      row('Local Volumes', usage.Volumes.length, usedVolumes.length, known(sum(usage.Volumes.map(({ UsageData: data }) => data?.Size)))),
    ];
    printListing(output, rows, { table: ['Type', 'TotalCount', 'Active', 'Size'], titles: { TotalCount: 'TOTAL' } }, flags);
  },
});

function row(type: string, total: number, active: number, size: string) {
  return { Type: type, TotalCount: String(total), Active: String(active), Size: size };
}
