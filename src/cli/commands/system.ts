import type { SlipwayDf } from '../../api-types/own.ts';
import { apiVersion, type InfoResponse, type VersionResponse } from '../../api-types/system.ts';
import { type Context, defineCommand } from '../command.ts';
import { text } from '../flags.ts';
import { formatFlag, printListing } from '../format/listing.ts';
import { compileTemplate } from '../format/template.ts';
import { unescapeFormat } from '../format/template-lexer.ts';
import { binarySize, humanSize } from '../format/units.ts';
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
      ['Cgroup Driver', found.CgroupDriver],
      ['Cgroup Version', found.CgroupVersion],
      ['Volume Drivers', found.Plugins.Volume.join(' ')],
      ['Network Drivers', found.Plugins.Network.join(' ')],
      ['Runtimes', Object.keys(found.Runtimes).join(' ')],
      ['Default Runtime', found.DefaultRuntime],
      ['Init Binary', found.InitBinary],
      ['Security Options', found.SecurityOptions.join(' ')],
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
    const client = {
      Version: clientVersion,
      ApiVersion: apiVersion,
      NodeVersion: process.version,
      Os: process.platform,
      Arch: process.arch,
    };
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
