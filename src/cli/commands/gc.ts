import type { Collection, GcPlan, GcRunRequest } from '../../api-types/gc.ts';
import { type Context, defineCommand } from '../command.ts';
import { text, usageError } from '../flags.ts';
import { formatFlag, printListing } from '../format/listing.ts';
import { ellipsis, humanAge, humanSize } from '../format/units.ts';

const want = text('Plan until this much is free, whatever the marks say', { value: 'SIZE' });

export const gcPlan = defineCommand({
  summary: 'Show what a collection would remove now, and why',
  flags: { format: formatFlag, free: want },
  async run({ client, output }, flags) {
    const plan = await client.get<GcPlan>('/slipway/gc/plan', { want: bytesOf(flags.free) });
    if (flags.format === 'json') {
      output.line(JSON.stringify(plan));
      return;
    }
    const nowMs = Date.now();
    const rows = plan.items.map((item) => ({
      Kind: item.kind,
      Name: item.name,
      Size: humanSize(item.bytes),
      Used: item.lastUsedAtMs === 0 ? '' : humanAge(item.lastUsedAtMs, nowMs),
      Reason: item.reason,
      Remake: item.remake,
    }));
    printListing(
      output,
      rows,
      { table: ['Kind', 'Name', 'Size', 'Used', 'Reason', 'Remake'], titles: { Used: 'LAST USED', Remake: 'TO HAVE IT AGAIN' } },
      flags,
    );
    if (flags.format !== undefined) return;
    output.line(`Plan ${plan.id}: ${humanSize(plan.bytes)} would become free. "slipway gc run --plan ${plan.id}" does exactly this.`);
    if (plan.missingBytes > 0) tellHolders({ output }, plan);
  },
});

function tellHolders({ output }: Pick<Context, 'output'>, plan: GcPlan): void {
  output.line(`${humanSize(plan.missingBytes)} more should be free, but the rest is kept:`);
  for (const { kind, name, bytes, reason } of plan.kept.slice(0, 20)) output.line(`  ${humanSize(bytes)}  ${kind} ${name}: ${reason}`);
}

export const gcRun = defineCommand({
  summary: 'Remove what nothing needs, or exactly what a plan says',
  flags: { plan: text('Do this plan; what was used since it was made stays', { value: 'ID' }), free: want, format: formatFlag },
  async run({ client, output }, flags) {
    if (flags.plan !== undefined && flags.free !== undefined) throw usageError('--plan and --free cannot be given together');
    const bytes = bytesOf(flags.free);
    const body: GcRunRequest = {
      ...(flags.plan === undefined ? {} : { plan: flags.plan }),
      ...(bytes === undefined ? {} : { want: bytes }),
    };
    const collection = await client.post<Collection>('/slipway/gc/run', { json: body });
    if (flags.format === 'json') output.line(JSON.stringify(collection));
    else tellCollection({ output }, collection);
  },
});

function tellCollection({ output }: Pick<Context, 'output'>, { removed, left, sweep, freedBytes, plannedBytes }: Collection): void {
  for (const { kind, name, bytes } of removed) if (kind !== 'unused') output.line(`removed ${kind} ${name} (${humanSize(bytes)})`);
  for (const { kind, name, reason } of left) output.line(`left ${kind} ${name}: ${reason}`);
  output.line(
    `Freed ${humanSize(freedBytes)} of ${humanSize(plannedBytes)} planned: ${sweep.objects} files, ${sweep.blobs} blobs, ${sweep.trees} trees.`,
  );
}

export const gcHistory = defineCommand({
  summary: 'Show what collections did',
  flags: { format: formatFlag },
  async run({ client, output }, flags) {
    const collections = await client.get<Collection[]>('/slipway/gc/history');
    const nowMs = Date.now();
    const rows = collections.map(({ planId, cause, startedAtMs, durationMs, freedBytes, plannedBytes, removed, left }) => ({
      Plan: planId,
      Cause: cause,
      Started: humanAge(startedAtMs, nowMs),
      Took: `${(durationMs / 1000).toFixed(1)}s`,
      Freed: humanSize(freedBytes),
      Planned: humanSize(plannedBytes),
      Removed: String(removed.length),
      Left: left.length === 0 ? '' : ellipsis(`${left.length}: ${left[0]?.name ?? ''} ${left[0]?.reason ?? ''}`, 60),
    }));
    printListing(output, rows, { table: ['Plan', 'Cause', 'Started', 'Took', 'Freed', 'Planned', 'Removed', 'Left'] }, flags);
  },
});

function bytesOf(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const match = /^(\d{1,15})([kmgt]?)b?$/i.exec(value);
  if (match === null) throw usageError(`--free ${value} is not a size such as 20g or 500m`);
  return Number(match[1]) * 1024 ** ' kmgt'.indexOf((match[2] || ' ').toLowerCase());
}
