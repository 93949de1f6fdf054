import type { GcRooms, OutsideItem, PlannedItem, Surroundings } from '../gc/port.ts';
import type { ContainerRecord, Containers } from '../runtime/port.ts';
import type { Snapshotter } from '../snapshot/port.ts';
import type { TreeId } from '../store/model.ts';
import type { Volumes } from '../volumes/port.ts';

type Rooms = {
  snapshotter: Snapshotter;
  containers: Containers & { volumeUsers(name: string): string[] };
  volumes: Volumes;
  /** What a container wrote into its root, in bytes of blocks. */
  writableBytes(containerId: string): Promise<number>;
};

/** What the collector has to know of containers, volumes and mounted trees, and how they go. */
export class DaemonGcRooms implements GcRooms {
  readonly #rooms: Rooms;

  constructor(rooms: Rooms) {
    this.#rooms = rooms;
  }

  async surroundings(): Promise<Surroundings> {
    const { snapshotter, containers } = this.#rooms;
    const [records, trees, projections] = await Promise.all([containers.list(), snapshotter.usedTrees(), snapshotter.projections()]);
    const mounted = new Map(trees.map(({ tree, by }) => [tree, by]));
    return {
      trees,
      images: records.map(({ image, name }) => ({ id: image.id, by: `container ${name}` })),
      items: [
        ...projections.map(({ tree, bytes, lastUsedAtMs }) => projection(tree, bytes, lastUsedAtMs, mounted.get(tree))),
        ...(await Promise.all(records.map((record) => this.#container(record)))),
        ...(await this.#volumes()),
      ],
    };
  }

  async remove(item: PlannedItem, plannedAtMs: number): Promise<string | undefined> {
    const { snapshotter, containers, volumes } = this.#rooms;
    switch (item.kind) {
      case 'projection':
        return (await snapshotter.discardProjection(item.id as TreeId)) ? undefined : 'a snapshot needs it';
      case 'container': {
        const { state } = await containers.get(item.id);
        if (lastUse(state) > plannedAtMs || state.status !== 'exited') return 'it was started since the plan was made';
        await containers.remove(item.id);
        return undefined;
      }
      case 'volume':
        if (containers.volumeUsers(item.id).length > 0) return 'a container uses it';
        await volumes.remove(item.id);
        return undefined;
      default:
        return `nobody knows how a ${item.kind} goes`;
    }
  }

  async #container(record: ContainerRecord): Promise<OutsideItem> {
    const { id, name, state, createdAtMs } = record;
    return {
      kind: 'container',
      id,
      name,
      bytes: await this.#rooms.writableBytes(id),
      lastUsedAtMs: Math.max(createdAtMs, lastUse(state)),
      held: state.status === 'exited' ? undefined : `it is ${state.status}`,
    };
  }

  async #volumes(): Promise<OutsideItem[]> {
    const { containers, volumes } = this.#rooms;
    return (await volumes.list()).map(({ name, createdAtMs }) => {
      const [user] = containers.volumeUsers(name);
      return {
        kind: 'volume',
        id: name,
        name,
        bytes: 0,
        lastUsedAtMs: createdAtMs,
        held: user === undefined ? undefined : `container ${user.slice(0, 12)} uses it`,
      };
    });
  }
}

function projection(tree: TreeId, bytes: number, lastUsedAtMs: number, by: string | undefined): OutsideItem {
  const held = by === undefined ? undefined : `${by.slice(0, 12)} has it mounted`;
  return { kind: 'projection', id: tree, name: `EROFS image of ${tree.slice(0, 12)}`, bytes, lastUsedAtMs, held, costMs: 300 };
}

function lastUse(state: ContainerRecord['state']): number {
  if ('finishedAtMs' in state) return state.finishedAtMs;
  return 'startedAtMs' in state ? state.startedAtMs : 0;
}
