import { isErrno } from '../../base/errors.ts';
import { NetlinkSocket, parseAttributes } from '../../kernel/netlink.ts';

const NFTABLES = 10;
const NFT_MSG_GETGEN = 16;
const NFTA_GEN_ID = 1;

type Options = {
  intervalMs: number;
  /** What else is looked at, each time: `check` is called when it changed. */
  facts: () => string;
  /** Looks whether what should be there is, and mends it. */
  check: () => Promise<void>;
  onError: (error: unknown) => void;
};

type Seen = { generation: number | undefined; facts: string };

/**
 * Notices that something else has changed the host's rules: a firewall that was reloaded, a hand that flushed a table. The kernel counts the
 * changes of nftables, and asking for the count takes microseconds; only when it moved are rules looked at. Kernels and programs without
 * nftables are looked at every so often.
 */
export class FirewallWatch {
  private readonly options: Options;
  private timer: NodeJS.Timeout | undefined;
  private seen: Seen | undefined;
  private ticks = 0;

  constructor(options: Options) {
    this.options = options;
  }

  start(): void {
    this.timer ??= setTimeout(() => void this.tick(), this.options.intervalMs).unref();
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private async tick(): Promise<void> {
    const timer = this.timer;
    try {
      // Taken before the look: what changes during it is looked at the next time.
      const now = { generation: await generation(), facts: this.options.facts() };
      if (this.isDue(now)) {
        await this.options.check();
        this.seen = now;
      }
    } catch (error) {
      this.options.onError(error);
    }
    if (this.timer !== timer) return;
    this.timer = undefined;
    this.start();
  }

  private isDue(now: Seen): boolean {
    const everyTicks = 6;
    if (this.seen === undefined || now.facts !== this.seen.facts) return true;
    if (now.generation === undefined) return ++this.ticks % everyTicks === 0;
    return now.generation !== this.seen.generation;
  }
}

/** How often the host's nftables were changed since it started; undefined without nftables. */
async function generation(): Promise<number | undefined> {
  using socket = new NetlinkSocket('netfilter');
  try {
    const answer = await socket.get({
      type: (NFTABLES << 8) | NFT_MSG_GETGEN,
      flags: 0,
      payload: Buffer.alloc(4),
      what: 'nftables generation',
    });
    return parseAttributes(answer.subarray(4)).get(NFTA_GEN_ID)?.readUInt32BE(0);
  } catch (error) {
    if (isErrno(error, 'EINVAL', 'EOPNOTSUPP', 'ENOTSUP', 'EPROTONOSUPPORT')) return undefined;
    throw error;
  }
}
