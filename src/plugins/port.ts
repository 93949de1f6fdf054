/** A program on this host that speaks Docker's plugin protocol, version 1: JSON over HTTP, one request a call. */
export interface Plugin {
  readonly name: string;
  /**
   * What it answers to `method`, its own errors included (`Err`). Unavailable `PLUGIN_UNREACHABLE` when nobody answers within `timeoutMs`; Internal
   * `PLUGIN_ANSWER_INVALID` for what is no JSON object or has no status 200.
   */
  call(method: string, body: unknown, timeoutMs: number): Promise<Record<string, unknown>>;
}

/** Plugins, found when they are asked for. */
export interface Plugins {
  /**
   * Undefined when nothing on this host has the name, or what has it does not implement `kind` (`VolumeDriver`, `authz`). Asked anew at each call. Errors
   * as of `Plugin.call`, and InvalidArgument `PLUGIN_SPEC_INVALID`, which names the file.
   */
  find(name: string, kind: string): Promise<Plugin | undefined>;
}
