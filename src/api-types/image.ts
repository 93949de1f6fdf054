import type { ContainerConfig } from './container.ts';

/** One row of GET /images/json. `Created` in seconds, sizes in bytes. */
export type ImageSummary = {
  Id: string;
  ParentId: string;
  RepoTags: string[];
  RepoDigests: string[];
  Created: number;
  Size: number;
  /** -1: not computed. */
  SharedSize: number;
  Labels: Record<string, string> | null;
  /** -1: not computed. */
  Containers: number;
  /** Before 1.44: Size once more. */
  VirtualSize?: number;
};

/** GET /images/{name}/json. */
export type ImageInspect = {
  Id: string;
  RepoTags: string[];
  RepoDigests: string[];
  Parent: string;
  Comment: string;
  Created: string;
  /** Before 1.45. */
  Container?: string;
  ContainerConfig?: ContainerConfig;
  DockerVersion: string;
  Author: string;
  Config: ContainerConfig;
  Architecture: string;
  Variant?: string;
  Os: string;
  OsVersion?: string;
  Size: number;
  /** Before 1.44: Size once more. */
  VirtualSize?: number;
  GraphDriver: { Name: string; Data: Record<string, string> | null };
  RootFS: { Type: 'layers'; Layers: string[] };
  Metadata: { LastTagTime: string };
  /** Slipway's own: the root tree, its digest without times, and the last use by a start or a build. */
  Slipway: { Tree: string; Content: string; LastUsed?: string };
};

/** A row of GET /images/{name}/history. `Created` in seconds. */
export type ImageHistoryItem = { Id: string; Created: number; CreatedBy: string; Tags: string[] | null; Size: number; Comment: string };

/** A row of DELETE /images/{name} and of prune. */
export type ImageDeleteItem = { Untagged: string } | { Deleted: string };

export type ImagesPruneResponse = { ImagesDeleted: ImageDeleteItem[] | null; SpaceReclaimed: number };
