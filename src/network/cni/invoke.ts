import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import { runCommand } from '../command.ts';
import { type CniList, type CniPlugin, isObject } from './config.ts';

export type CniCommand = 'ADD' | 'DEL' | 'CHECK';

/** What an invocation is about; CNI specification 1.0.0, section 2. */
export type CniTarget = {
  containerId: string;
  /** '' when the namespace is gone, for DEL only. */
  netns: string;
  interfaceName: string;
  /** By capability; each plugin gets those that its configuration asks for. */
  capabilities: Readonly<Record<string, unknown>>;
};

/** Runs the plugins of a list. */
export class CniInvoker {
  private readonly directories: readonly string[];

  constructor(directories: readonly string[]) {
    this.directories = directories;
  }

  /** Unavailable `CNI_PLUGIN_MISSING`. */
  pathOf(type: string): string {
    for (const directory of this.directories) {
      const path = join(directory, type);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // In another folder, then.
      }
    }
    const message = `there is no CNI plugin ${type} in ${this.directories.join(' or ')}`;
    throw new EngineError('Unavailable', 'CNI_PLUGIN_MISSING', message, {
      hint: 'Install it: apt-get install -y containernetworking-plugins.',
    });
  }

  /** ADD in the list's order, each plugin with the result before it. Answers the last result. */
  async add(list: CniList, target: CniTarget): Promise<unknown> {
    let result: unknown;
    for (const plugin of list.plugins) result = await this.run('ADD', list, plugin, target, result);
    return result;
  }

  /** DEL in reverse order. */
  async delete(list: CniList, target: CniTarget, result: unknown): Promise<void> {
    for (const plugin of [...list.plugins].reverse()) await this.run('DEL', list, plugin, target, result);
  }

  /** Throws when something is not as ADD made it. A no-op for lists that cannot be checked. */
  async check(list: CniList, target: CniTarget, result: unknown): Promise<void> {
    if (list.disableCheck || ['0.2.0', '0.3.0', '0.3.1'].includes(list.cniVersion)) return;
    for (const plugin of list.plugins) await this.run('CHECK', list, plugin, target, result);
  }

  private async run(
    command: CniCommand,
    { name, cniVersion }: CniList,
    plugin: CniPlugin,
    target: CniTarget,
    previous: unknown,
  ): Promise<unknown> {
    const asked = Object.entries(target.capabilities).filter(([capability]) => plugin.capabilities[capability]);
    const input = {
      ...plugin.settings,
      name,
      cniVersion,
      ...(asked.length > 0 ? { runtimeConfig: Object.fromEntries(asked) } : {}),
      ...(previous === undefined ? {} : { prevResult: previous }),
    };
    const { exitCode, stdout, stderr } = await runCommand(this.pathOf(plugin.type), [], {
      input: JSON.stringify(input),
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: target.containerId,
        CNI_NETNS: target.netns,
        CNI_IFNAME: target.interfaceName,
        CNI_PATH: this.directories.join(':'),
      },
      debianPackage: 'containernetworking-plugins',
    });
    if (exitCode !== 0) throw failed(command, plugin, name, reasonOf(stdout, stderr));
    if (command !== 'ADD') return undefined;
    try {
      return JSON.parse(stdout) as unknown;
    } catch {
      throw failed(command, plugin, name, `its result is not JSON: ${stdout.slice(0, 200)}`);
    }
  }
}

/** Section 5, "Error": an object with code, msg and details on standard output. */
function reasonOf(stdout: string, stderr: string): string {
  try {
    const error = JSON.parse(stdout) as unknown;
    if (isObject(error) && typeof error.msg === 'string') {
      const details = typeof error.details === 'string' && error.details !== '' ? `: ${error.details}` : '';
      return `${error.msg}${details}`.slice(0, 1000);
    }
  } catch {
    // A crash, told on stderr.
  }
  return (stderr.trim() || stdout.trim() || 'it said nothing').slice(0, 1000);
}

function failed(command: CniCommand, { type }: CniPlugin, network: string, reason: string): EngineError {
  return new EngineError('Unavailable', 'CNI_FAILED', `CNI plugin ${type} failed to ${command} on ${network}: ${reason}`);
}
