/** What a plugin is told of a request, in the terms of Docker's authorization plugins (moby pkg/authorization/api.go). */
export type RequestFacts = {
  /** Common name of the client's certificate. */
  user: string | undefined;
  method: string;
  /** As the router understood the address: docs/formats/authorization.md. */
  uri: string;
  headers: Record<string, string>;
  body: Buffer | undefined;
  /** The client's certificate. */
  peerCertificatesDer: readonly Buffer[];
};

/** What is about to be answered. */
export type ResponseFacts = { status: number; headers: Record<string, string>; body: Buffer | undefined };

/** Asks whoever was set to decide about requests. */
export interface Authorization {
  /** Denied `AUTHORIZATION_DENIED`, in Docker's words, when one says no, cannot say yes, or takes too long. */
  request(request: RequestFacts): Promise<void>;
  /** As `request`, of the answer to one that was let in. */
  response(request: RequestFacts, response: ResponseFacts): Promise<void>;
}
