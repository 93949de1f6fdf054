export type Volume = {
  name: string;
  driver: string;
  mountpoint: string;
  createdAtMs: number;
  labels: Record<string, string>;
  options: Record<string, string>;
  anonymous: boolean;
  /** What its driver says of it. */
  status?: Record<string, unknown>;
};

/**
 * A kind of volume. `local` is built in; others are out of process. Names of calls as in Docker's volume plugin protocol. `user` is what a mount is
 * counted by: a container's id.
 */
export interface VolumeDriver {
  readonly name: string;
  create(name: string, options: Record<string, string>): Promise<void>;
  remove(name: string): Promise<void>;
  /** Where it is for `user` from now on. */
  mount(name: string, user: string): Promise<{ mountpoint: string }>;
  unmount(name: string, user: string): Promise<void>;
  get(name: string): Promise<{ mountpoint: string; status?: Record<string, unknown> } | undefined>;
  list(): Promise<{ name: string; mountpoint: string }[]>;
}

/** Named places that outlive containers. Names are `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 255 bytes. */
export interface Volumes {
  create(options: { name?: string; labels?: Record<string, string>; options?: Record<string, string>; driver?: string }): Promise<Volume>;
  get(name: string): Promise<Volume>;
  list(): Promise<Volume[]>;
  /** Makes it ready for a container and answers its host path; idempotent for the same user. */
  mount(name: string, user: string): Promise<string>;
  /** Idempotent. */
  unmount(name: string, user: string): Promise<void>;
  /** Names of the drivers. */
  drivers(): string[];
  /** Bytes of blocks in use; undefined where the driver cannot tell. */
  size(name: string): Promise<number | undefined>;
  /** NotFound; Conflict when a container uses it (`inUse` is asked of the composition root). */
  remove(name: string, options?: { force?: boolean }): Promise<void>;
}
