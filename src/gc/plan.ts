import { Ledger } from './ledger.ts';
import { bytesOver, type Disk, type GcPolicy } from './policy.ts';
import type { GcPlan, KeptItem, PlannedItem } from './port.ts';
import type { Item, View } from './view.ts';

export type PlanRequest = {
  readonly policy: GcPolicy;
  readonly disk: Disk;
  readonly nowMs: number;
  readonly id: string;
  /** What a file of one byte takes. */
  readonly block: number;
  /** Go on until this much is free, whatever the marks say. */
  readonly wantedBytes?: number | undefined;
};

/** What goes first when space is short; within a tier the cheapest to have again, by byte and by age. */
const tiers: readonly Item['kind'][][] = [['projection'], ['blob'], ['result', 'layer', 'image', 'container', 'volume']];

/**
 * What a collection would do now, and why: what nothing refers to always, what a rule lets go at its time, and while space is short what is cheapest to
 * have again. A pure function: the same view, policy and moment give the same plan.
 */
export function planCollection(view: View, request: PlanRequest): GcPlan {
  return new Planning(view, request).plan();
}

class Planning {
  readonly #view: View;
  readonly #request: PlanRequest;
  readonly #ledger: Ledger;
  readonly #planned: PlannedItem[] = [];
  readonly #kept: { item: Item; reason: string }[] = [];
  readonly #goneBlobs = new Set<number>();
  /** Those that freed nothing by themselves when they were taken. */
  readonly #freedNothing: Item[] = [];
  #bytes = 0;

  constructor(view: View, request: PlanRequest) {
    this.#view = view;
    this.#request = request;
    this.#ledger = new Ledger(view.graph, view.blobs.bytes, request.block);
  }

  plan(): GcPlan {
    const { policy, disk, nowMs, id } = this.#request;
    for (const holding of this.#view.held) this.#ledger.add(holding);
    for (const item of this.#view.items) if (item.kind !== 'blob') this.#ledger.add(item);
    this.#leftovers();
    const candidates = this.#candidates();
    const rest = candidates.filter((item) => !this.#byRule(item));
    const over = bytesOver(disk, policy.high) > 0;
    const wantedBytes = this.#request.wantedBytes ?? (over ? bytesOver(disk, policy.low) : 0);
    for (const tier of tiers)
      this.#shrink(
        rest.filter((item) => tier.includes(item.kind)),
        wantedBytes,
      );
    this.#bringBack();
    const missingBytes = Math.max(0, wantedBytes - this.#bytes);
    return {
      id,
      createdAtMs: nowMs,
      disk,
      wantedBytes,
      items: this.#planned,
      bytes: this.#bytes,
      missingBytes,
      kept: missingBytes > 0 ? this.#holders() : [],
    };
  }

  #leftovers(): void {
    const { trees, objects, blobs, bytes } = this.#ledger.unheld;
    if (trees + objects + blobs === 0) return;
    this.#take(
      {
        kind: 'unused',
        id: 'unused',
        name: `${trees} trees, ${objects} files and ${blobs} blobs`,
        reason: 'nothing refers to them',
        bytes,
        lastUsedAtMs: 0,
        remake: 'nothing needs them',
      },
      bytes,
    );
  }

  /** What neither something else nor a rule keeps. */
  #candidates(): Item[] {
    const kept = keptImages(this.#view.items, this.#request);
    return this.#view.items.filter((item) => {
      const reason = item.held ?? kept.get(item.id) ?? this.#keptByRule(item);
      if (reason !== undefined) this.#kept.push({ item, reason });
      return reason === undefined;
    });
  }

  #keptByRule({ kind, createdAtMs, lastUsedAtMs }: Item): string | undefined {
    const { policy, nowMs } = this.#request;
    if (kind === 'container' && policy.containers.endedForMs === undefined) return 'containers stay unless gc.containers says otherwise';
    if (kind === 'volume' && policy.volumes.unusedForMs === undefined) return 'volumes stay unless gc.volumes says otherwise';
    if (kind === 'projection' || kind === 'blob') return undefined;
    // A clock that jumped back makes things of the future: they count as new.
    if (nowMs - createdAtMs < policy.minAgeMs) return `it is younger than gc.min-age (${showTime(policy.minAgeMs)})`;
    const within = kind === 'result' || kind === 'layer' ? policy.buildCache.keepUsedWithinMs : undefined;
    if (within !== undefined && nowMs - lastUsedAtMs < within) return `it was used within ${showTime(within)}`;
    return undefined;
  }

  /** Takes what is due whatever space there is. */
  #byRule(item: Item): boolean {
    const { policy, nowMs } = this.#request;
    const unusedMs = nowMs - item.lastUsedAtMs;
    const dueMs = { container: policy.containers.endedForMs, volume: policy.volumes.unusedForMs };
    const limitMs = item.kind === 'container' || item.kind === 'volume' ? dueMs[item.kind] : undefined;
    if (limitMs === undefined || unusedMs < limitMs) return false;
    this.#remove(item, `it was not used for ${showTime(unusedMs)}`);
    return true;
  }

  #shrink(items: readonly Item[], wantedBytes: number): void {
    const { nowMs } = this.#request;
    const scored = items
      .map((item) => ({ item, score: score(item, nowMs) }))
      .sort((a, b) => a.score - b.score || (a.item.id < b.item.id ? -1 : 1));
    for (const { item } of scored) {
      if (this.#bytes >= wantedBytes) return;
      this.#remove(item, `space is short; last used ${showTime(nowMs - item.lastUsedAtMs)} ago`);
    }
  }

  #remove(item: Item, reason: string): void {
    const { kind, id, name, lastUsedAtMs, remake, keys } = item;
    const bytes = kind === 'blob' ? this.#dropBlob(item) : this.#ledger.remove(item);
    if (bytes === 0) this.#freedNothing.push(item);
    this.#take({ kind, id, name, reason, bytes, lastUsedAtMs, remake, keys }, bytes);
  }

  /** What frees nothing stays, unless something after it in the plan frees what both held. */
  #bringBack(): void {
    const stays = new Set<string>();
    for (const item of this.#freedNothing.reverse()) {
      if (item.kind === 'container' || item.kind === 'volume') continue;
      if (item.kind !== 'blob' && this.#ledger.add(item) > 0) this.#ledger.remove(item);
      else stays.add(`${item.kind} ${item.id}`);
    }
    const planned = this.#planned.filter(({ kind, id }) => !stays.has(`${kind} ${id}`));
    this.#planned.splice(0, this.#planned.length, ...planned);
  }

  #dropBlob({ blobs }: Item): number {
    let bytes = 0;
    for (const blob of blobs) {
      if (this.#goneBlobs.has(blob)) continue;
      this.#goneBlobs.add(blob);
      bytes += this.#view.blobs.bytes[blob] ?? 0;
      // Those that name it go on doing so; they free nothing by it any more.
      this.#view.blobs.bytes[blob] = 0;
    }
    return bytes;
  }

  #take(item: PlannedItem, bytes: number): void {
    this.#planned.push(item);
    this.#bytes += bytes;
  }

  /** Each byte is told once, of the most telling of those that hold it: a result of a build is why an image is large, not why it stays. */
  #holders(): KeptItem[] {
    const order: readonly Item['kind'][] = ['result', 'layer', 'projection', 'blob', 'volume', 'container', 'image'];
    const kept = this.#kept.toSorted((a, b) => order.indexOf(a.item.kind) - order.indexOf(b.item.kind));
    const holders = kept.map(({ item: { kind, id, name, ...holding }, reason }) => ({
      kind,
      id,
      name,
      reason,
      bytes: kind === 'blob' ? 0 : this.#ledger.remove(holding),
    }));
    return holders.filter(({ bytes }) => bytes > 0).sort((a, b) => b.bytes - a.bytes);
  }
}

/** Images that the policy keeps, and why: the rule that names an image goes before one that counts. */
function keptImages(items: readonly Item[], { policy, nowMs }: PlanRequest): Map<string, string> {
  const kept = new Map<string, string>();
  const { keepLast, keepUsedWithinMs, keep, keepLabels } = policy.images;
  const images = items.filter(({ kind }) => kind === 'image');
  for (const [name, versions] of byRepository(images)) {
    versions.sort((a, b) => b.lastUsedAtMs - a.lastUsedAtMs || b.createdAtMs - a.createdAtMs);
    for (const { id } of versions.slice(0, keepLast)) kept.set(id, `it is one of the last ${keepLast} of ${name} (gc.images.keep-last)`);
  }
  for (const { id, lastUsedAtMs, references = [], labels = {} } of images) {
    const pattern = keep.find((text) => references.some((reference) => matches(text, reference)));
    const label = keepLabels.find((text) => hasLabel(labels, text));
    if (pattern !== undefined) kept.set(id, `gc.images.keep has ${pattern}`);
    else if (label !== undefined) kept.set(id, `gc.images.keep-labels has ${label}`);
    else if (nowMs - lastUsedAtMs < keepUsedWithinMs)
      kept.set(id, `it was used within ${showTime(keepUsedWithinMs)} (gc.images.keep-used-within)`);
  }
  return kept;
}

function byRepository(images: readonly Item[]): Map<string, Item[]> {
  const repositories = new Map<string, Item[]>();
  for (const image of images) {
    for (const name of new Set(image.references?.map(repositoryOf))) repositories.set(name, [...(repositories.get(name) ?? []), image]);
  }
  return repositories;
}

function repositoryOf(reference: string): string {
  return reference.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
}

/** `*` stands for any characters. */
function matches(pattern: string, reference: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`(^|/)${parts.join('.*')}$`).test(reference);
}

function hasLabel(labels: Readonly<Record<string, string>>, text: string): boolean {
  const [name = '', value] = text.split('=', 2);
  return Object.hasOwn(labels, name) && (value === undefined || labels[name] === value);
}

/** Small goes first: what a byte costs to have again, over how long nobody wanted it. Unknown costs are taken as a minute. */
function score({ costMs = 60_000, sizeBytes, lastUsedAtMs }: Item, nowMs: number): number {
  return costMs / Math.max(4096, sizeBytes) / Math.max(1000, nowMs - lastUsedAtMs);
}

export function showTime(ms: number): string {
  const units: readonly [number, string][] = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'min'],
    [1000, 's'],
  ];
  for (const [size, unit] of units) if (ms >= size) return `${Math.round(ms / size)} ${unit}`;
  return `${Math.max(0, Math.round(ms))} ms`;
}
