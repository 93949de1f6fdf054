import type { BuildDebugLine, BuildDebugStart, BuildLine, BuildResultLine } from '../../api-types/build.ts';
import { route } from '../client/client.ts';
import type { Context } from '../command.ts';
import { boolean, text, usageError } from '../flags.ts';
import { followHijacked } from '../run/hijack.ts';
import { terminalSize } from '../run/local.ts';
import type { Progress } from './progress.ts';

export const debugFlags = {
  debug: boolean('When a step fails, open a shell in it: its files, mounts, secrets and environment as they were'),
  'debug-command': text('What --debug runs instead of sh', { value: 'COMMAND' }),
};

/** Wraps a build's progress: a failed step that the daemon offers gets this terminal (or these pipes), and what is told meanwhile is shown afterwards. */
export class DebuggedProgress implements Progress {
  readonly #shown: Progress;
  readonly #context: Context;
  readonly #command: readonly string[] | undefined;
  #session: Promise<void> | undefined;
  #held: BuildLine[] | undefined;

  constructor(shown: Progress, context: Context, command: string | undefined) {
    this.#shown = shown;
    this.#context = context;
    this.#command = command === undefined ? undefined : command.split(/\s+/).filter((word) => word !== '');
    if (this.#command?.length === 0) throw usageError('--debug-command needs a command', 'Such as --debug-command bash.');
  }

  line(line: BuildLine): void {
    if (line.kind === 'debug') this.#session = this.#open(line);
    else if (this.#held === undefined) this.#shown.line(line);
    else this.#held.push(line);
  }

  result(result: BuildResultLine): void {
    this.#shown.result(result);
  }

  close(): void {
    this.#release();
    this.#shown.close();
  }

  /** Resolves when no shell is open any more. */
  async ended(): Promise<void> {
    await this.#session;
  }

  async #open(line: BuildDebugLine): Promise<void> {
    this.#held = [];
    this.#shown.close();
    const { output, client } = this.#context;
    const tty = process.stdin.isTTY === true && output.isTerminal(1);
    const size = tty ? terminalSize() : undefined;
    output.error(`\n${line.name}\n${line.message}\nThis is the step as it failed; the build ends with this shell.\n`);
    const body: BuildDebugStart = {
      Tty: tty,
      ...(this.#command === undefined ? {} : { Cmd: [...this.#command] }),
      ...(size === undefined ? {} : { ConsoleSize: [size.rows, size.columns] }),
    };
    try {
      const { socket } = await client.upgrade(route`/slipway/build-debug/${line.id}/start`, 'tcp', { json: body });
      await followHijacked(
        client,
        socket,
        output,
        { kind: 'debug', id: line.id },
        { stdin: true, tty, proxySignals: false, detachKeys: '' },
      );
    } catch (error) {
      const { message, hint } = error as { message: string; hint?: string };
      output.error(`${message}\n${hint === undefined ? '' : `${hint}\n`}`);
    }
    this.#release();
  }

  #release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const line of held) this.#shown.line(line);
  }
}
