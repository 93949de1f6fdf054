import type { Socket } from 'node:net';
import type { ImageRecord } from '../store/port.ts';

/** What a client says of the session that it offers (the headers `X-Docker-Expose-Session-*`). */
export type SessionOffer = {
  id: string;
  name: string;
  /** The same for builds of one folder on one machine: what it sent last time need not come again. */
  sharedKey: string;
  /** What the client serves, as `/package.Service/Method`. */
  methods: readonly string[];
};

/** A build as POST /build?version=2 asks for it: parameters of the Dockerfile frontend, and where its result goes. */
export type SessionBuild = {
  ref: string;
  session: string;
  frontendAttrs: Readonly<Record<string, string>>;
  exporters: readonly ExportRequest[];
  /** The context as a tar, already a file here; without one the session has it. */
  archive?: string | undefined;
};

export type ExportRequest = { type: string; attrs: Readonly<Record<string, string>> };

/** Serves BuildKit's protocol over connections that have left HTTP/1. Both kinds are HTTP/2 without TLS of its own ("h2c"). */
export interface BuildKit {
  /** The daemon is the client here: it calls what the peer serves. Resolves when the connection is over. Conflict `SESSION_EXISTS`, before any byte. */
  attachSession(offer: SessionOffer, connect: () => Promise<Socket>): Promise<void>;
  /** The daemon serves Control, LLBBridge and Health on it until either side closes. */
  serve(socket: Socket): Promise<void>;
  /** `onStatus` gets encoded `moby.buildkit.v1.StatusResponse` messages; the next one comes when it is done with one. */
  build(
    build: SessionBuild,
    options: { onStatus: (message: Uint8Array) => Promise<void>; signal: AbortSignal },
  ): Promise<{ imageId?: string | undefined }>;
  close(): Promise<void>;
}

/** What the room tells the engine of the images that it made. */
export type ImageMade = (image: ImageRecord, tags: readonly string[]) => void;
