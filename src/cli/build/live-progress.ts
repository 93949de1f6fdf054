import type { BuildLine, BuildResultLine } from '../../api-types/build.ts';
import { type Progress, summary } from './progress.ts';
import { LineSplitter, showDuration, type Vertex, Vertices } from './vertices.ts';

const frameMs = 100;
const tailLines = 5;

export type Screen = {
  write(text: string): void;
  /** Columns and rows now; a resized window is asked anew. */
  size(): { columns: number; rows: number };
  paint(code: number, text: string): string;
};

/**
 * A build on a terminal: what has ended scrolls up and stays; below it what runs, each with its time and the tail of its output, drawn anew ten times a second.
 * When something fails, all of its output that was kept (the last 200 lines) is printed.
 */
export class LiveProgress implements Progress {
  readonly #screen: Screen;
  readonly #now: () => number;
  readonly #vertices = new Vertices();
  readonly #output = new Map<number, { splitter: LineSplitter; lines: string[] }>();
  readonly #startedMs: number;
  #drawnLines = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(screen: Screen, now: () => number = () => performance.now()) {
    this.#screen = screen;
    this.#now = now;
    this.#startedMs = now();
    this.#screen.write('\u001b[?25l'); // the cursor would jump about
    this.#timer = setInterval(() => this.draw(), frameMs);
    this.#timer.unref();
  }

  line(line: BuildLine): void {
    if (line.kind === 'vertex') this.#vertex(line);
    else if (line.kind === 'output') this.#take(line);
    else if (line.kind === 'warning') {
      this.#above(`${this.#screen.paint(33, 'WARNING:')} ${line.message}${line.line === undefined ? '' : ` (line ${line.line})`}\n`);
    }
  }

  result(result: BuildResultLine): void {
    this.#above(`${this.#screen.paint(32, summary(result, this.#now() - this.#startedMs))}\n`);
  }

  close(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#screen.write(`${this.#erase()}\u001b[?25h`);
  }

  /** Draws the running vertices in place of those drawn before. */
  draw(): void {
    const lines = this.#runningLines();
    this.#screen.write(this.#erase() + lines.map((line) => `${line}\n`).join(''));
    this.#drawnLines = lines.length;
  }

  #vertex(line: BuildLine & { kind: 'vertex' }): void {
    const vertex = this.#vertices.update(line, this.#now());
    if (vertex.state === 'running') return;
    if (vertex.state === 'error') this.#above(this.#failed(vertex));
    else this.#above(`${this.#mark(vertex)}\n`);
    this.#output.delete(vertex.number);
  }

  #take(line: BuildLine & { kind: 'output' }): void {
    const vertex = this.#vertices.get(line.vertex);
    if (vertex === undefined) return;
    const kept = this.#output.get(vertex.number) ?? { splitter: new LineSplitter(), lines: [] };
    this.#output.set(vertex.number, kept);
    kept.lines.push(...kept.splitter.push(Buffer.from(line.data, 'base64')));
    kept.lines.splice(0, kept.lines.length - 200);
  }

  #failed(vertex: Vertex): string {
    const kept = this.#output.get(vertex.number);
    const lines = kept === undefined ? [] : [...kept.lines, ...kept.splitter.end()];
    return `${this.#mark(vertex)}\n${lines.map((line) => ` > ${line}\n`).join('')}`;
  }

  #mark({ state, name, durationMs }: Vertex): string {
    const paint = this.#screen.paint;
    const time = durationMs === undefined ? '' : showDuration(durationMs);
    if (state === 'cached') return this.#row(`${paint(36, '=')} ${paint(36, 'CACHED')}`, 8, name, '');
    if (state === 'error') return this.#row(paint(31, 'x'), 1, name, time);
    if (state === 'cancelled') return this.#row(paint(33, '-'), 1, name, time);
    return this.#row(paint(32, '+'), 1, name, time);
  }

  #runningLines(): string[] {
    const { rows } = this.#screen.size();
    const all = this.#vertices.all();
    const running = all.filter(({ state }) => state === 'running');
    const ended = all.length - running.length;
    const lines = [this.#row('Building', 8, `${ended} of ${all.length} done`, showDuration(this.#now() - this.#startedMs))];
    const tail = Math.max(0, Math.min(tailLines, Math.floor((rows - 2) / Math.max(1, running.length)) - 1));
    for (const vertex of running) {
      lines.push(this.#row(this.#screen.paint(34, '>'), 1, vertex.name, showDuration(this.#now() - vertex.startedMs)));
      const output = this.#output.get(vertex.number)?.lines.slice(-tail) ?? [];
      if (tail > 0) lines.push(...output.map((line) => this.#screen.paint(2, this.#fit(`    ${line}`))));
    }
    return lines.slice(0, Math.max(1, rows - 1));
  }

  /** A mark of `width` characters, a name cut to fit, a time at the right. */
  #row(mark: string, width: number, name: string, time: string): string {
    const { columns } = this.#screen.size();
    const room = Math.max(10, columns - width - time.length - 3);
    const oneLine = name.replace(/\s+/g, ' ');
    const cut = oneLine.length > room ? `${oneLine.slice(0, room - 1)}…` : oneLine;
    return `${mark} ${cut}${' '.repeat(room - cut.length + 1)}${time}`.trimEnd();
  }

  #fit(line: string): string {
    return line.replaceAll('\t', '  ').slice(0, this.#screen.size().columns - 1);
  }

  #above(text: string): void {
    this.#screen.write(this.#erase() + text);
    if (this.#timer !== undefined) this.draw();
  }

  #erase(): string {
    const lines = this.#drawnLines;
    this.#drawnLines = 0;
    return lines === 0 ? '' : `\u001b[${lines}F\u001b[0J`;
  }
}
