import type { BuildDefinition, DefinitionImage, DefinitionMount, DefinitionStep } from '../../api-types/definition.ts';
import { suggestion } from '../../base/nearest.ts';
import { JsonDocument } from '../../oci/document.ts';

const maxBytes = 16 * 1024 * 1024;
const maxSteps = 100_000;
const maxTimeoutMs = 7 * 24 * 3_600_000;
const maxRetries = 100;
const version = 1;

type Fields = Record<string, unknown>;
type Read = (fields: Fields, place: string) => Record<string, unknown>;

/**
 * Reads a build definition (docs/formats/build-definition.md). Unknown fields and kinds are errors, with the nearest known one: a mistake must not make another build. InvalidArgument
 * `DOCUMENT_INVALID` names the place. Ids are unique; that what they name exists, and that there is no circle, `orderSteps` checks.
 */
export function parseBuildDefinition(text: string, name: string): BuildDefinition {
  const document = new JsonDocument(text, name, maxBytes);
  return new Parser(document).definition();
}

class Parser {
  readonly #document: JsonDocument;
  readonly #kinds: Readonly<Record<string, Read>>;
  readonly #mounts: Readonly<Record<string, Read>>;

  constructor(document: JsonDocument) {
    this.#document = document;
    const text = (value: unknown, place: string) => document.string(value, place);
    const path = (value: unknown, place: string) => this.#path(value, place);
    const mode = (value: unknown, place: string) => this.#within(value, place, 0, 0o7777);
    const owner = { owner: text };
    this.#kinds = {
      scratch: this.#fields({}, {}),
      image: this.#fields({ reference: text }, {}),
      context: this.#fields({}, {}),
      files: this.#fields({ files: this.#list(this.#fields({ path, text }, { mode })) }, {}),
      copy: this.#fields(
        { base: text, from: text, paths: this.#list(path), to: path },
        { ...owner, mode, exclude: (value, place) => document.strings(value, place) },
      ),
      mkdir: this.#fields({ base: text, path }, { ...owner, mode }),
      run: this.#fields(
        { base: text, args: (value, place) => this.#some(document.strings(value, place), place) },
        {
          env: this.#map(text),
          user: text,
          workingDir: path,
          network: this.#oneOf('default', 'none', 'host'),
          mounts: this.#list((value, place) => this.#mount(value, place)),
          timeoutMs: (value, place) => this.#within(value, place, 1, maxTimeoutMs),
          retries: (value, place) => this.#within(value, place, 0, maxRetries),
        },
      ),
      merge: this.#fields({ trees: (value, place) => this.#some(document.strings(value, place), place) }, {}),
      difference: this.#fields({ lower: text, upper: text }, {}),
    };
    this.#mounts = {
      cache: this.#fields({ target: path }, { id: text, sharing: this.#oneOf('shared', 'private', 'locked') }),
      bind: this.#fields({ target: path, from: text }, { path, writable: (value, place) => this.#boolean(value, place) }),
      tmpfs: this.#fields({ target: path }, { sizeBytes: (value, place) => this.#within(value, place, 1, Number.MAX_SAFE_INTEGER) }),
    };
  }

  definition(): BuildDefinition {
    const document = this.#document;
    const { root } = document;
    const told = document.integer(root.slipwayBuild, 'slipwayBuild');
    if (told !== version) throw document.error('slipwayBuild', `is ${told}; this engine reads ${version}`);
    const read = this.#fields(
      {
        slipwayBuild: (value) => value,
        steps: (value, place) => document.array(value, place, maxSteps, (step, at) => this.#step(step, at)),
        target: (value, place) => document.string(value, place),
      },
      { image: (value, place) => this.#image(value, place) },
    );
    const definition = read(root, '') as BuildDefinition;
    const ids = new Set<string>();
    for (const [index, { id }] of definition.steps.entries()) {
      if (ids.has(id)) throw document.error(`steps[${index}].id`, `"${id}" is the id of an earlier step`);
      ids.add(id);
    }
    return definition;
  }

  #step(value: unknown, place: string): DefinitionStep {
    const { id, name, kind, ...rest } = this.#document.object(value, place);
    const idText = this.#document.string(id, `${place}.id`, 200);
    if (!/^[\w.-]+$/.test(idText)) throw this.#document.error(`${place}.id`, `"${idText}" may have letters, digits, ".", "_" and "-" only`);
    const shown = name === undefined || name === null ? {} : { name: this.#document.string(name, `${place}.name`, 10_000) };
    return { id: idText, ...shown, kind, ...this.#kind(this.#kinds, kind, place)(rest, place) } as DefinitionStep;
  }

  #mount(value: unknown, place: string): DefinitionMount {
    const { kind, ...rest } = this.#document.object(value, place);
    return { kind, ...this.#kind(this.#mounts, kind, place)(rest, place) } as DefinitionMount;
  }

  #kind(kinds: Readonly<Record<string, Read>>, kind: unknown, place: string): Read {
    const text = this.#document.string(kind, `${place}.kind`, 100);
    const read = Object.hasOwn(kinds, text) ? kinds[text] : undefined;
    if (read !== undefined) return read;
    const known = Object.keys(kinds);
    throw this.#document.error(`${place}.kind`, `"${text}" is not known. ${suggestion(text, known) ?? `Kinds are ${known.join(', ')}.`}`);
  }

  #image(value: unknown, place: string): DefinitionImage {
    const document = this.#document;
    const text = (field: unknown, at: string) => document.string(field, at);
    const strings = (field: unknown, at: string) => document.strings(field, at);
    const read = this.#fields(
      {},
      {
        Env: this.#map(text),
        Labels: this.#map(text),
        Cmd: strings,
        Entrypoint: strings,
        User: text,
        WorkingDir: (field, at) => this.#path(field, at),
        ExposedPorts: strings,
        Volumes: strings,
        StopSignal: text,
      },
    );
    return read(document.object(value, place), place) as DefinitionImage;
  }

  /** Reads an object of just these fields. */
  #fields(
    required: Record<string, (value: unknown, place: string) => unknown>,
    optional: Record<string, (value: unknown, place: string) => unknown>,
  ): (value: unknown, place: string) => Record<string, unknown> {
    return (value, place) => {
      const fields = this.#document.object(value, place);
      const at = (key: string) => (place === '' ? key : `${place}.${key}`);
      const known = [...Object.keys(required), ...Object.keys(optional)];
      for (const key of Object.keys(fields)) {
        if (known.includes(key)) continue;
        throw this.#document.error(
          at(key.slice(0, 100)),
          `is not known${known.length === 0 ? '' : `. ${suggestion(key, known) ?? `Fields are ${known.join(', ')}.`}`}`,
        );
      }
      const result: Record<string, unknown> = {};
      for (const [key, read] of Object.entries(required)) result[key] = read(fields[key], at(key));
      for (const [key, read] of Object.entries(optional)) {
        if (fields[key] !== undefined && fields[key] !== null) result[key] = read(fields[key], at(key));
      }
      return result;
    };
  }

  #list<T>(item: (value: unknown, place: string) => T): (value: unknown, place: string) => T[] {
    return (value, place) => this.#some(this.#document.array(value, place, maxSteps, item), place, 0);
  }

  #map(item: (value: unknown, place: string) => string): (value: unknown, place: string) => Record<string, string> {
    return (value, place) => {
      const map = this.#document.map(value, place, 10_000, item);
      for (const key of Object.keys(map)) {
        if (key === '' || /[=\0]/.test(key))
          throw this.#document.error(place, `has a name that cannot be: ${JSON.stringify(key.slice(0, 100))}`);
      }
      return map;
    };
  }

  #some<T>(list: T[], place: string, least = 1): T[] {
    if (list.length < least) throw this.#document.error(place, 'is empty');
    return list;
  }

  #oneOf(...words: readonly string[]): (value: unknown, place: string) => string {
    return (value, place) => {
      const text = this.#document.string(value, place, 100);
      if (words.includes(text)) return text;
      throw this.#document.error(place, `is "${text}", expected ${words.join(', ')}`);
    };
  }

  #path(value: unknown, place: string): string {
    const path = this.#document.string(value, place, 4096);
    if (!path.startsWith('/')) throw this.#document.error(place, `"${path.slice(0, 200)}" is not an absolute path`);
    if (path.includes('\0') || path.split('/').includes('..'))
      throw this.#document.error(place, `"${path.slice(0, 200)}" has ".." or a NUL in it`);
    return path;
  }

  #within(value: unknown, place: string, least: number, most: number): number {
    const number = this.#document.integer(value, place);
    if (number >= least && number <= most) return number;
    throw this.#document.error(place, `is ${number}, expected ${least} to ${most}`);
  }

  #boolean(value: unknown, place: string): boolean {
    if (typeof value === 'boolean') return value;
    throw this.#document.error(place, 'must be true or false');
  }
}
