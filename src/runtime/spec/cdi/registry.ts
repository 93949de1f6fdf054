import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ScalarTag } from 'yaml';
import { EngineError, isErrno } from '../../../base/errors.ts';
import { type CdiSpecification, type ContainerEdits, parseQualifiedName, readCdiSpecification } from './specification.ts';

/** A specification names devices, not data: NVIDIA's for a large host is some 100 kB. */
const fileLimitBytes = 4 << 20;

type Device = { edits: ContainerEdits; specification: CdiSpecification; path: string; priority: number };

/** The devices of all specification files, as they are on the disk now. */
export class CdiRegistry {
  /** By qualified name. */
  readonly #devices = new Map<string, Device>();
  /** What could not be used, each with its file. */
  readonly errors: string[] = [];

  /** Files `*.json` and `*.yaml`. Of two with one device, that of the later folder wins; within a folder neither counts. */
  static async read(directories: readonly string[]): Promise<CdiRegistry> {
    const registry = new CdiRegistry();
    for (const [priority, directory] of directories.entries()) {
      for (const path of await specificationFiles(directory)) await registry.#add(path, priority);
    }
    registry.#dropConflicts();
    return registry;
  }

  names(): string[] {
    return [...this.#devices.keys()].sort();
  }

  kinds(): Set<string> {
    return new Set([...this.#devices.values()].map(({ specification }) => specification.kind));
  }

  /** What these devices ask of the container: first each specification's own edits, then those of its devices, in order. NotFound names all that are unknown. */
  edits(names: readonly string[]): ContainerEdits[] {
    const found = names.map((name) => this.#devices.get(name));
    const unknown = names.filter((_, index) => found[index] === undefined);
    if (unknown.length > 0) {
      throw new EngineError(
        'InvalidArgument',
        'CDI_DEVICE_UNKNOWN',
        `CDI device injection failed: unresolvable CDI devices ${unknown.join(', ')}`,
        {
          hint:
            this.errors[0] ??
            (this.names().length > 0 ? `Known are ${this.names().join(', ')}.` : 'No CDI specification names a device here.'),
        },
      );
    }
    const seen = new Set<CdiSpecification>();
    return found.flatMap((device) => {
      if (device === undefined) return [];
      const first = !seen.has(device.specification);
      seen.add(device.specification);
      return first ? [device.specification.edits, device.edits] : [device.edits];
    });
  }

  async #add(path: string, priority: number): Promise<void> {
    let specification: CdiSpecification;
    try {
      specification = readCdiSpecification(await parseFile(path));
    } catch (error) {
      // One broken file must not take the others' devices away.
      this.errors.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    for (const { name, edits } of specification.devices) {
      const qualified = `${specification.kind}=${name}`;
      const other = this.#devices.get(qualified);
      if (other?.priority === priority) this.#conflicts.set(qualified, [other.path, path]);
      else {
        this.#conflicts.delete(qualified);
        this.#devices.set(qualified, { edits, specification, path, priority });
      }
    }
  }

  readonly #conflicts = new Map<string, string[]>();

  #dropConflicts(): void {
    for (const [name, paths] of this.#conflicts) {
      this.#devices.delete(name);
      this.errors.push(`conflicting device ${JSON.stringify(name)} (specs ${paths.map((path) => JSON.stringify(path)).join(', ')})`);
    }
  }
}

export function isCdiName(text: string): boolean {
  return parseQualifiedName(text) !== undefined;
}

async function specificationFiles(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory))
      .filter((name) => /\.(json|yaml)$/.test(name))
      .sort()
      .map((name) => join(directory, name));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}

/** As writers of specifications mean it, whose libraries read YAML 1.1: `fileMode: 0660`. */
const octal: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^0[0-7]+$/,
  resolve: (text) => Number.parseInt(text, 8),
};

async function parseFile(path: string): Promise<unknown> {
  if ((await stat(path)).size > fileLimitBytes)
    throw new EngineError('InvalidArgument', 'CDI_INVALID', `it is larger than ${fileLimitBytes} bytes`);
  const text = await readFile(path, 'utf8');
  if (path.endsWith('.json')) return JSON.parse(text);
  // Loaded when there is something for it: few hosts have devices of this kind.
  const { parse } = await import('yaml');
  return parse(text, { maxAliasCount: 100, customTags: (tags) => [octal, ...tags] });
}
