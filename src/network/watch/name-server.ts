import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import packets, { type DecodedPacket, type Packet } from 'dns-packet';
import { inNetns } from '../../kernel/namespace.ts';
import { bindTcp, bindUdp } from '../../kernel/socket.ts';

export type Answer = {
  readonly code: 'NOERROR' | 'NXDOMAIN' | 'SERVFAIL';
  readonly addresses: readonly { address: string; ttl: number }[];
};
/** Asks for the addresses of a name. Resolves once they can be reached. */
export type Ask = (name: string, type: 'A' | 'AAAA') => Promise<Answer>;

/** As Docker's. Any address of 127.0.0.0/8 is the namespace's own. */
export const nameServerAddress = '127.0.0.11';
const port = 53;
/** Questions that wait for their answers at a time; the client asks those beyond again. */
const mostWaiting = 256;
const mostConnections = 64;
/** RFC 1035, section 4.2.1, without EDNS(0): the client then comes back over TCP. */
const plainUdpBytes = 512;
const responseCodes = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3 } as const;

/**
 * A name server inside a network namespace that answers for addresses alone (A and AAAA); of other kinds a name has none. What is no question for one name of the
 * Internet class is dropped.
 */
export class NameServer {
  readonly #ask: Ask;
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();
  #waiting = 0;

  constructor(netns: string, ask: Ask) {
    this.#ask = ask;
    const address = { ip: nameServerAddress, port };
    const [udp, tcp] = inNetns(netns, () => [bindUdp(address).fd, bindTcp(address).fd] as const);
    this.#udp = createSocket('udp4');
    this.#udp.on('error', () => undefined);
    this.#udp.on('message', (message, { address: to, port: toPort }) => {
      void this.#answer(message, plainUdpBytes).then((reply) => {
        if (reply !== undefined && !this.#closed) this.#udp.send(reply, toPort, to, () => undefined);
      });
    });
    this.#udp.bind({ fd: udp });
    this.#tcp = createServer((socket) => this.#serve(socket));
    this.#tcp.maxConnections = mostConnections;
    this.#tcp.on('error', () => undefined);
    this.#tcp.listen({ fd: tcp });
  }

  #closed = false;

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#udp.close();
    this.#tcp.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #serve(socket: Socket): void {
    this.#connections.add(socket);
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setTimeout(10_000, () => socket.destroy());
    let held = Buffer.alloc(0);
    socket.on('data', (data: Buffer) => {
      held = Buffer.concat([held, data]);
      while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
        const length = held.readUInt16BE(0);
        const message = held.subarray(2, 2 + length);
        held = held.subarray(2 + length);
        void this.#answer(message, 0xffff).then((reply) => {
          if (reply !== undefined) socket.write(Buffer.concat([Buffer.from([reply.length >> 8, reply.length & 0xff]), reply]));
        });
      }
    });
  }

  async #answer(message: Buffer, limitBytes: number): Promise<Buffer | undefined> {
    const query = parseQuestion(message);
    if (query === undefined || this.#waiting >= mostWaiting) return undefined;
    this.#waiting++;
    try {
      const { name, type } = query;
      const answer: Answer = type === undefined ? { code: 'NOERROR', addresses: [] } : await this.#ask(name, type);
      const reply = encodeAnswer(query, answer);
      return reply.length <= limitBytes ? reply : encodeAnswer(query, { code: 'NOERROR', addresses: [] }, { truncated: true });
    } catch {
      return encodeAnswer(query, { code: 'SERVFAIL', addresses: [] });
    } finally {
      this.#waiting--;
    }
  }
}

type Question = {
  readonly packet: DecodedPacket;
  readonly name: string /** Undefined for another kind. */;
  readonly type: 'A' | 'AAAA' | undefined;
};

/** Undefined for what is no question (or more than one). Never throws. */
export function parseQuestion(message: Buffer): Question | undefined {
  let packet: DecodedPacket;
  try {
    packet = packets.decode(message);
  } catch {
    return undefined;
  }
  const [question, ...more] = packet.questions ?? [];
  if (packet.type !== 'query' || question === undefined || more.length > 0 || (question.class ?? 'IN') !== 'IN') return undefined;
  return { packet, name: question.name, type: question.type === 'A' || question.type === 'AAAA' ? question.type : undefined };
}

export function encodeAnswer({ packet, name, type }: Question, answer: Answer, { truncated = false } = {}): Buffer {
  const { RECURSION_DESIRED, RECURSION_AVAILABLE, TRUNCATED_RESPONSE } = packets;
  const flags =
    ((packet.flags ?? 0) & RECURSION_DESIRED) | RECURSION_AVAILABLE | (truncated ? TRUNCATED_RESPONSE : 0) | responseCodes[answer.code];
  const reply: Packet = {
    type: 'response',
    id: packet.id ?? 0,
    flags,
    questions: packet.questions ?? [],
    answers: type === undefined ? [] : answer.addresses.map(({ address, ttl }) => ({ type, name, ttl, data: address })),
  };
  return packets.encode(reply);
}
