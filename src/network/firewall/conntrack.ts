import { isErrno } from '../../base/errors.ts';
import { attribute, type NetlinkMessage, NetlinkSocket, parseAttributes } from '../../kernel/netlink.ts';
import { addressBytes, type IpAddress } from '../ip.ts';
import { hostU32 } from '../netlink/messages.ts';

// Numbers of <linux/netfilter/nfnetlink_conntrack.h> and <linux/netfilter/nfnetlink.h>.
const CTNETLINK = 1;
const GET = 1;
const DELETE = 2;
const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, FILTER: 25 } as const;
const TUPLE = { IP: 1, PROTO: 2 } as const;
const PROTO = { NUM: 1, DST_PORT: 3 } as const;
const FILTER = { ORIG_FLAGS: 1, REPLY_FLAGS: 2 } as const;
const FLAG = { IP_SRC: 1, PROTO_NUM: 8, DST_PORT: 32 } as const;
const UDP = 17;
/** In one send. */
const deletionsAtOnce = 100;

/** Which flows: those to one of this host's ports, or those whose answers come from a container's address. */
export type FlowFilter = { family: 4 | 6; toPort: number } | { family: 4 | 6; answeredBy: IpAddress };

/**
 * Makes the kernel forget UDP flows. It goes on with what it decided for a flow's first packet for as long as packets come: flows from before a
 * port was published would miss the container, and those to a container that is gone would go on to whoever gets its address.
 */
export async function forgetUdpFlows(filters: readonly FlowFilter[]): Promise<void> {
  if (filters.length === 0) return;
  using socket = new NetlinkSocket('netfilter');
  for (const filter of filters) {
    const flows = (await listFlows(socket, filter)).filter((tuples) => matches(tuples, filter));
    for (let i = 0; i < flows.length; i += deletionsAtOnce) {
      const messages = flows.slice(i, i + deletionsAtOnce).map(({ original }) => deletion(filter.family, original));
      // Flows end by themselves too.
      await socket.request(messages).catch((error: unknown) => {
        if (!isErrno(error, 'ENOENT')) throw error;
      });
    }
  }
}

type Flow = { original: Buffer; reply: Buffer };

/** Kernels before 5.8 do not know the filter and list everything. */
async function listFlows(socket: NetlinkSocket, filter: FlowFilter): Promise<Flow[]> {
  const protocol = attribute(PROTO.NUM, Buffer.from([UDP]));
  const wanted =
    'toPort' in filter
      ? [
          attribute(CTA.TUPLE_ORIG, [attribute(TUPLE.PROTO, [protocol, attribute(PROTO.DST_PORT, be16(filter.toPort))])]),
          attribute(CTA.FILTER, [attribute(FILTER.ORIG_FLAGS, hostU32(FLAG.PROTO_NUM | FLAG.DST_PORT))]),
        ]
      : [
          attribute(CTA.TUPLE_REPLY, [
            attribute(TUPLE.IP, [attribute(filter.family === 4 ? 1 : 3, addressBytes(filter.answeredBy))]),
            attribute(TUPLE.PROTO, [protocol]),
          ]),
          attribute(CTA.FILTER, [attribute(FILTER.REPLY_FLAGS, hostU32(FLAG.IP_SRC | FLAG.PROTO_NUM))]),
        ];
  const parts = await socket.list({
    type: (CTNETLINK << 8) | GET,
    flags: 0,
    payload: Buffer.concat([header(filter.family), ...wanted]),
    what: 'list flows',
  });
  return parts.flatMap((part) => {
    const attributes = parseAttributes(part.subarray(4));
    const [original, reply] = [attributes.get(CTA.TUPLE_ORIG), attributes.get(CTA.TUPLE_REPLY)];
    return original === undefined || reply === undefined ? [] : [{ original, reply }];
  });
}

function matches({ original, reply }: Flow, filter: FlowFilter): boolean {
  const protocol = parseAttributes(parseAttributes(original).get(TUPLE.PROTO) ?? Buffer.alloc(0));
  if (protocol.get(PROTO.NUM)?.[0] !== UDP) return false;
  if ('toPort' in filter) return protocol.get(PROTO.DST_PORT)?.equals(be16(filter.toPort)) ?? false;
  const source = parseAttributes(parseAttributes(reply).get(TUPLE.IP) ?? Buffer.alloc(0)).get(filter.family === 4 ? 1 : 3);
  return source?.equals(addressBytes(filter.answeredBy)) ?? false;
}

function deletion(family: 4 | 6, original: Buffer): NetlinkMessage {
  const NLA_F_NESTED = 0x8000;
  const payload = Buffer.concat([header(family), attribute(CTA.TUPLE_ORIG | NLA_F_NESTED, original)]);
  return { type: (CTNETLINK << 8) | DELETE, flags: 0, payload, what: 'forget a flow' };
}

/** struct nfgenmsg. */
function header(family: 4 | 6): Buffer {
  return Buffer.from([family === 4 ? 2 : 10, 0, 0, 0]);
}

function be16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
