/** OCI image configuration, application/vnd.oci.image.config.v1+json (image-spec config.md), with the Docker fields that engines keep. */
export type ImageConfig = {
  created?: string;
  author?: string;
  architecture: string;
  os: string;
  variant?: string;
  'os.version'?: string;
  config?: RunConfig;
  rootfs?: { type: 'layers'; diff_ids: string[] };
  history?: HistoryEntry[];
};

/** The `config` object: defaults for a container made from the image. Durations are nanoseconds, as in Docker's JSON. */
export type RunConfig = {
  User?: string;
  ExposedPorts?: Record<string, Record<string, never>>;
  Env?: string[];
  Entrypoint?: string[] | null;
  Cmd?: string[] | null;
  Volumes?: Record<string, Record<string, never>>;
  WorkingDir?: string;
  Labels?: Record<string, string>;
  StopSignal?: string;
  Shell?: string[];
  OnBuild?: string[];
  Healthcheck?: Healthcheck;
  /** Docker: Cmd was given in shell form and must not be escaped again. */
  ArgsEscaped?: boolean;
};

export type Healthcheck = {
  Test?: string[];
  Interval?: number;
  Timeout?: number;
  StartPeriod?: number;
  StartInterval?: number;
  Retries?: number;
};

export type HistoryEntry = { created?: string; created_by?: string; author?: string; comment?: string; empty_layer?: boolean };

/** OCI descriptor (descriptor.md). `size` in bytes. */
export type Descriptor = {
  mediaType: string;
  digest: string;
  size: number;
  urls?: string[];
  annotations?: Record<string, string>;
  platform?: Platform;
  /** Of the manifest that is described (OCI 1.1). */
  artifactType?: string;
};

export type Platform = { architecture: string; os: string; variant?: string; 'os.version'?: string };

export type Manifest = {
  schemaVersion: 2;
  mediaType?: string;
  artifactType?: string;
  config: Descriptor;
  layers: Descriptor[];
  annotations?: Record<string, string>;
  subject?: Descriptor;
};

export type ImageIndex = { schemaVersion: 2; mediaType?: string; manifests: Descriptor[]; annotations?: Record<string, string> };
