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
 * counted by: a container's id, `[a-zA-Z0-9_.-]{1,128}`. Who uses what is known again after a crash of the engine. test/contracts/volume-driver.ts is
 * run by each driver.
 */
export interface VolumeDriver {
  readonly name: string;
  /** InvalidArgument names the option that it does not take. Idempotent. */
  create(name: string, options: Record<string, string>): Promise<void>;
  /** With what is in it. A no-op when it does not exist. */
  remove(name: string): Promise<void>;
  /** Where it is for `user` from now on. Idempotent for a user. NotFound `VOLUME_NOT_FOUND`. */
  mount(name: string, user: string): Promise<{ mountpoint: string }>;
  /** Idempotent, also for a volume that does not exist. The last user's takes down what the first one's `mount` put up. */
  unmount(name: string, user: string): Promise<void>;
  get(name: string): Promise<{ mountpoint: string; status?: Record<string, unknown> } | undefined>;
  list(): Promise<{ name: string; mountpoint: string }[]>;
  /** Bytes of blocks in use; undefined where it cannot tell. */
  size(name: string): Promise<number | undefined>;
  /** Once after a start: unmounts for the users of an earlier engine of whom `isUser` does not know. */
  recover(isUser: (user: string) => boolean): Promise<void>;
}

/** Drivers that are found when they are asked for. */
export interface VolumeDriverFinder {
  /** Undefined when there is none of this name. */
  find(name: string): Promise<VolumeDriver | undefined>;
  /** Those that were found so far. */
  active(): VolumeDriver[];
  /** As a driver's, for all that have users; waits for none of them. */
  recover(isUser: (user: string) => boolean): void;
}

/** Named places that outlive containers. Names are `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 255 bytes. */
export interface Volumes {
  /**
   * Answers the one that exists when `options` and `driver` are not given or the same; Conflict otherwise. Without a name: an anonymous one of 64 hex
   * digits. `anonymous` says so of one that the caller has named, to know it again after a crash.
   */
  create(options: {
    name?: string;
    anonymous?: boolean;
    labels?: Record<string, string>;
    options?: Record<string, string>;
    driver?: string;
  }): Promise<Volume>;
  get(name: string): Promise<Volume>;
  list(): Promise<Volume[]>;
  /**
   * Makes it ready for a container and answers its host path; idempotent for the same user. With `subpath` the path of a mount of that folder or file
   * alone: no symlink in the volume leads out of it, also not one that is put there later. NotFound when it is not there.
   */
  mount(name: string, user: string, options?: { subpath?: string | undefined }): Promise<string>;
  /** Takes away all that `mount` made for this user, subpaths too. Idempotent. */
  unmount(name: string, user: string): Promise<void>;
  /** Once after a start: unmounts for the users of an earlier engine of whom `isUser` does not know. */
  recover(isUser: (user: string) => boolean): Promise<void>;
  /** Names of the drivers. */
  drivers(): string[];
  /** Bytes of blocks in use; undefined where the driver cannot tell. */
  size(name: string): Promise<number | undefined>;
  /** NotFound; Conflict when a container uses it (`inUse` is asked of the composition root). */
  remove(name: string, options?: { force?: boolean }): Promise<void>;
}
