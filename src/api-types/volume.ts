export type VolumeResource = {
  Name: string;
  Driver: string;
  Mountpoint: string;
  CreatedAt: string;
  Labels: Record<string, string> | null;
  Options: Record<string, string> | null;
  Scope: 'local';
  /** What its driver says of it. */
  Status?: Record<string, unknown>;
  UsageData?: { Size: number; RefCount: number };
};

export type VolumeList = { Volumes: VolumeResource[]; Warnings: string[] | null };

/** Body of POST /volumes/create. */
export type VolumeCreateRequest = {
  Name?: string;
  Driver?: string;
  DriverOpts?: Record<string, string> | null;
  Labels?: Record<string, string> | null;
  /** Volumes of a swarm. */
  ClusterVolumeSpec?: unknown;
};
