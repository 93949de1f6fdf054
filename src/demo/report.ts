import type { WriteStream } from 'node:tty';

/** What the demo shows: a heading a step, what it printed, how long it took, and a table at the end. */
export class Report {
  readonly #out: NodeJS.WritableStream & { isTTY?: boolean };
  readonly #steps: { name: string; durationMs: number; note: string }[] = [];
  readonly #colour: boolean;
  #note = '';

  constructor(out: WriteStream | NodeJS.WritableStream) {
    this.#out = out;
    this.#colour = 'isTTY' in out && out.isTTY === true && (process.env.NO_COLOR ?? '') === '';
  }

  #style(code: number, text: string): string {
    return this.#colour ? `\x1b[${code}m${text}\x1b[0m` : text;
  }

  async step<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.#out.write(`\n${this.#style(1, `${this.#steps.length + 1}. ${name}`)}\n`);
    this.#note = '';
    const start = performance.now();
    const result = await work();
    const durationMs = performance.now() - start;
    this.#steps.push({ name, durationMs, note: this.#note });
    this.line(this.#style(2, `(${seconds(durationMs)})`));
    return result;
  }

  command(words: readonly string[], host: string): void {
    this.line(this.#style(36, `${host}$ slipway ${words.join(' ')}`));
  }

  line(text: string): void {
    this.#out.write(`   ${text}\n`);
  }

  note(text: string): void {
    this.#out.write(`\n${text}\n`);
  }

  /** A remark that the table shows beside the running step. */
  remark(text: string): void {
    this.#note = text;
  }

  summary(): void {
    const width = Math.max(...this.#steps.map((step) => step.name.length));
    const total = this.#steps.reduce((sum, step) => sum + step.durationMs, 0);
    this.#out.write(`\n${this.#style(1, 'What it took')}\n`);
    for (const step of this.#steps)
      this.line(`${step.name.padEnd(width)}  ${seconds(step.durationMs).padStart(8)}  ${step.note}`.trimEnd());
    this.line(`${'Together'.padEnd(width)}  ${seconds(total).padStart(8)}`);
  }
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(2)} s`;
}
