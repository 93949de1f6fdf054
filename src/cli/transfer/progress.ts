import type { ProgressMessage } from '../../api-types/build.ts';
import type { Screen } from '../build/live-progress.ts';
import type { Context } from '../command.ts';
import { humanSize } from '../format/units.ts';

const frameMs = 100;
const maxBarWidth = 30;
const minBarWidth = 5;

/** Where the steps of a pull, push or copy go. */
export interface TransferView {
  step(step: Pick<ProgressMessage, 'id' | 'status' | 'progressDetail'>): void;
  /** Leaves the terminal as it should be. May be called twice. */
  close(): void;
}

/** On standard error: bars where it is a terminal, else a line for each change; nothing when `quiet`. */
export function transferView({ output, env }: Context, quiet: boolean): TransferView {
  if (quiet) return { step() {}, close() {} };
  if (!output.isTerminal(2) || env.TERM === 'dumb') return new PlainTransfer((text) => output.error(text));
  return new LiveTransfer({
    write: (text) => output.error(text),
    size: () => ({ columns: process.stderr.columns || 80, rows: process.stderr.rows || 24 }),
    paint: (code, text) => output.paint(2, code, text),
  });
}

/** A line for each new status, without counters. */
export class PlainTransfer implements TransferView {
  readonly #write: (text: string) => void;
  readonly #last = new Map<string, string>();

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  step({ id, status }: ProgressMessage): void {
    if (status === undefined) return;
    if (id !== undefined && this.#last.get(id) === status) return;
    if (id !== undefined) this.#last.set(id, status);
    this.#write(id === undefined ? `${status}\n` : `${id}: ${status}\n`);
  }

  close(): void {}
}

type Row = { id: string; status: string; current: number | undefined; total: number | undefined };

/** A line for each layer, drawn anew in place; lines of no layer scroll up above them. What does not fit is counted. */
export class LiveTransfer implements TransferView {
  readonly #screen: Screen;
  readonly #rows = new Map<string, Row>();
  #drawn = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(screen: Screen) {
    this.#screen = screen;
    this.#screen.write('\u001b[?25l'); // the cursor would jump about
    this.#timer = setInterval(() => this.#draw(), frameMs);
    this.#timer.unref();
  }

  step({ id, status = '', progressDetail }: ProgressMessage): void {
    if (id === undefined) {
      this.#screen.write(`${this.#erase()}${status}\n`);
      return;
    }
    this.#rows.set(id, { id, status, current: progressDetail?.current, total: progressDetail?.total });
  }

  close(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#draw();
    this.#drawn = 0;
    this.#screen.write('\u001b[?25h');
  }

  #draw(): void {
    const { columns, rows } = this.#screen.size();
    const all = [...this.#rows.values()];
    const room = Math.max(1, rows - 2);
    // What still moves is worth more of the room than what is done.
    const moving = all.filter(({ current }) => current !== undefined);
    const shown = all.length <= room ? all : [...moving, ...all.filter(({ current }) => current === undefined)].slice(0, room);
    const lines = shown.map((row) => this.#line(row, columns - 1).slice(0, columns - 1));
    if (shown.length < all.length) lines.push(`… and ${all.length - shown.length} more`);
    this.#screen.write(this.#erase() + lines.map((line) => `${line}\n`).join(''));
    this.#drawn = lines.length;
  }

  #line({ id, status, current, total }: Row, width: number): string {
    const head = `${id}: ${status}`;
    if (current === undefined) return head;
    if (total === undefined || total <= 0) return `${head} ${humanSize(current)}`;
    const amount = `${humanSize(current)}/${humanSize(total)}`;
    const bar = Math.min(maxBarWidth, width - head.length - amount.length - 5);
    if (bar < minBarWidth) return `${head} ${amount}`;
    const done = Math.min(bar, Math.floor((current / total) * bar));
    return `${head} [${'='.repeat(done)}>${' '.repeat(bar - done)}] ${amount}`;
  }

  #erase(): string {
    const lines = this.#drawn;
    this.#drawn = 0;
    return lines === 0 ? '' : `\u001b[${lines}F\u001b[0J`;
  }
}
