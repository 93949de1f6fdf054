import { Duplex } from 'node:stream';
import { create, toBinary } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import type { AuthConfig } from '../../api-types/registry.ts';
import { EngineError } from '../../base/errors.ts';
import type { SecretSource, SshAgents } from '../../build/port.ts';
import type { Reference } from '../../oci/reference.ts';
import { Auth, BytesMessageSchema } from '../gen/filesync_pb.ts';
import { Secrets } from '../gen/secrets_pb.ts';
import { SSH } from '../gen/ssh_pb.ts';
import { messageData } from '../grpc/bytes-message.ts';
import { fromGrpcError } from '../grpc/errors.ts';
import { FrameReader, frame } from '../grpc/frames.ts';
import type { Session } from './sessions.ts';

/** How long a client may take for an answer that needs nobody to think. */
const answerMs = 60_000;

/** Secrets that the client holds. Each is asked for when a step wants it. */
export class SessionSecrets implements SecretSource {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async get(id: string): Promise<Uint8Array | undefined> {
    if (!this.#session.serves('/moby.buildkit.secrets.v1.Secrets/GetSecret')) return undefined;
    try {
      const { data } = await this.#session.channel.client(Secrets).getSecret({ ID: id }, { timeoutMs: answerMs });
      return data;
    } catch (error) {
      if (ConnectError.from(error).code === Code.NotFound) return undefined;
      throw fromGrpcError(error, `the secret "${id}"`);
    }
  }

  toJSON(): string {
    return 'secrets of a session';
  }
}

/** ssh agents that the client forwards. */
export class SessionAgents implements SshAgents {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async connect(id: string): Promise<Duplex | undefined> {
    if (!this.#session.serves('/moby.sshforward.v1.SSH/ForwardAgent')) return undefined;
    try {
      await this.#session.channel.client(SSH).checkAgent({ ID: id }, { timeoutMs: answerMs });
    } catch (error) {
      const code = ConnectError.from(error).code;
      // A client without that agent says so in words only (session/sshforward/sshprovider: "unset ssh forward key").
      if (code === Code.NotFound || code === Code.Unknown) return undefined;
      throw fromGrpcError(error, `the ssh agent "${id}"`);
    }
    return bytesOver(this.#session.channel.stream('/moby.sshforward.v1.SSH/ForwardAgent', { 'buildkit.ssh.id': [id] }));
  }
}

/** Credentials that the client has for a registry; undefined when it has none. */
export async function sessionCredentials(session: Session, { domain }: Pick<Reference, 'domain'>): Promise<AuthConfig | undefined> {
  if (!session.serves('/moby.filesync.v1.Auth/Credentials')) return undefined;
  // The name under which clients look their Hub's up.
  const host = domain === 'docker.io' ? 'registry-1.docker.io' : domain;
  try {
    const { Username: username, Secret: secret } = await session.channel.client(Auth).credentials({ Host: host }, { timeoutMs: answerMs });
    if (secret === '') return undefined;
    return username === '' ? { identitytoken: secret } : { username, password: secret };
  } catch (error) {
    throw fromGrpcError(error, `the credentials for ${domain}`);
  }
}

/** A stream of BytesMessage in both directions as plain bytes. */
function bytesOver(stream: Duplex): Duplex {
  const frames = new FrameReader((message) => {
    if (!bytes.push(Buffer.from(messageData(message)))) stream.pause();
  });
  const bytes: Duplex = new Duplex({
    read: () => void stream.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      stream.write(frame(toBinary(BytesMessageSchema, create(BytesMessageSchema, { data: chunk }))), done);
    },
    final: (done) => void stream.end(done),
    destroy: (error, done) => {
      stream.destroy();
      done(error);
    },
  });
  stream.on('data', (chunk: Buffer) => {
    try {
      frames.push(chunk);
    } catch (error) {
      bytes.destroy(error instanceof EngineError ? error : new Error(String(error)));
    }
  });
  stream.on('end', () => bytes.push(null));
  stream.on('error', (error) => bytes.destroy(error));
  stream.on('close', () => {
    if (!bytes.readableEnded) bytes.push(null);
  });
  return bytes;
}
