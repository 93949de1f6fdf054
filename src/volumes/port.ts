export type Volume = {
  name: string;
  driver: string;
  mountpoint: string;
  createdAtMs: number;
  labels: Record<string, string>;
  options: Record<string, string>;
  anonymous: boolean;
};

/** Named places that outlive containers. Names are `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 255 bytes. */
export interface Volumes {
  create(options: { name?: string; labels?: Record<string, string>; options?: Record<string, string>; driver?: string }): Promise<Volume>;
  get(name: string): Promise<Volume>;
  list(): Promise<Volume[]>;
  /** NotFound; Conflict when a container uses it (`inUse` is asked of the composition root). */
  remove(name: string, options?: { force?: boolean }): Promise<void>;
}
