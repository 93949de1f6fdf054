import type { AuthConfig } from '../../api-types/registry.ts';

/** Image registries (OCI distribution-spec; Docker Registry HTTP API v2). */
export interface Registries {
  /**
   * Checks credentials against the registry that they name (Docker Hub when none) by asking for `/v2/` with them, through its token server where
   * it sends one there. `identityToken` is a refresh token to be kept in place of the password, '' where the registry gives none.
   *
   * Denied `UNAUTHORIZED`: the registry said no. Unavailable `REGISTRY_UNREACHABLE`; InvalidArgument `REGISTRY_ADDRESS_INVALID`.
   */
  login(auth: AuthConfig, options?: { signal?: AbortSignal }): Promise<{ identityToken: string }>;
}
