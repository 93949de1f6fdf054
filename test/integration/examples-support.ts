import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BuildLine, BuildResultLine } from '../../src/api-types/build.ts';
import { DaemonPlace } from './api-daemon-harness.ts';

const cli = join(import.meta.dirname, '../../src/cli/main.ts');

export type Built = {
  result: BuildResultLine;
  /** Names of the steps whose commands ran. */
  ran: string[];
  cached: string[];
  /** Which line of progress told that a step began, and which that it was done. */
  spans: Map<string, { from: number; to: number }>;
};

/** A copy of a folder of examples/, and a daemon to build it. */
export class ExampleBench {
  readonly place = new DaemonPlace();
  readonly folder = mkdtempSync(join(tmpdir(), 'slipway-example-'));

  copy(name: string): string {
    const folder = join(this.folder, name);
    cpSync(join(import.meta.dirname, '../../examples', name), folder, { recursive: true });
    return folder;
  }

  slipway(...words: string[]): string {
    return execFileSync(process.execPath, [cli, ...words], {
      env: this.env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 64 << 20,
    });
  }

  get env(): Record<string, string> {
    return { PATH: process.env.PATH ?? '', HOME: this.folder, SLIPWAY_HOST: `unix://${this.place.socket}`, NO_COLOR: '1' };
  }

  async build(...words: string[]): Promise<Built> {
    const child = spawn(process.execPath, [cli, 'build', '--progress', 'json', ...words], {
      env: this.env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
    });
    const code = await new Promise((resolve) => child.once('close', resolve));
    const lines = text.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as BuildLine] : []));
    const output = lines.map((line) => (line.kind === 'output' ? Buffer.from(line.data, 'base64').toString() : '')).join('');
    assert.equal(
      code,
      0,
      `${output}\n${text
        .split('\n')
        .filter((line) => !line.startsWith('{"kind":"output"'))
        .join('\n')}`,
    );
    const result = lines.find((line) => line.kind === 'result');
    assert.ok(result !== undefined, text);
    const of = (state: string) => lines.flatMap((line) => (line.kind === 'vertex' && line.state === state ? [line.name] : []));
    const isCommand = (name: string) => /^(?:RUN|ansible) /.test(name);
    return { result, ran: of('done').filter(isCommand), cached: of('cached').filter(isCommand), spans: spansOf(lines) };
  }

  async remove(): Promise<void> {
    await this.place.remove();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** In lines, of which there are more as time goes on. */
function spansOf(lines: readonly BuildLine[]): Built['spans'] {
  const spans: Built['spans'] = new Map();
  for (const [at, line] of lines.entries()) {
    if (line.kind !== 'vertex') continue;
    if (line.state === 'running') spans.set(line.name, { from: at, to: Number.POSITIVE_INFINITY });
    const span = spans.get(line.name);
    if (line.state === 'done' && span !== undefined) span.to = at;
  }
  return spans;
}

/** Why what a test asks a server for cannot be had; false when it can. Errors of a server that answers are not such a reason. */
export function cannotReach(error: unknown): string | false {
  const text = error instanceof Error ? `${error.message} ${'stderr' in error ? String(error.stderr) : ''}` : String(error);
  const found =
    /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|Temporary failure resolving|Could not resolve|Could not connect|Connection timed out|Network is unreachable/.exec(
      text,
    );
  return found !== null && `the network cannot be reached from here (${found[0]})`;
}
