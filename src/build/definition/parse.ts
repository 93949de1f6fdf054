import { isIP } from 'node:net';
import type { BuildDefinition, DefinitionImage, DefinitionMount, DefinitionStep } from '../../api-types/definition.ts';
import { suggestion } from '../../base/nearest.ts';
import { JsonDocument } from '../../oci/document.ts';
import { GitReferenceError, parseGitReference } from '../dockerfile/git-reference.ts';

const maxBytes = 16 * 1024 * 1024;
const maxSteps = 100_000;
const maxTimeoutMs = 7 * 24 * 3_600_000;
const maxRetries = 100;
const maxCacheTtlMs = 10 * 366 * 24 * 3_600_000;
const maxServices = 20;
const hostName = /^(?:[a-z0-9](?:[a-z0-9-]{0,62})(?:\.|$))+$/i;
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
    const boolean = (value: unknown, place: string) => this.#boolean(value, place);
    const id = (value: unknown, place: string) => this.#within(value, place, 0, 2 ** 32 - 2);
    const args = (value: unknown, place: string) => this.#some(document.strings(value, place), place);
    const timeoutMs = (value: unknown, place: string) => this.#within(value, place, 1, maxTimeoutMs);
    const limits = this.#fields(
      {},
      {
        memoryBytes: (value, place) => this.#within(value, place, 6 * 1024 * 1024, Number.MAX_SAFE_INTEGER),
        cpus: (value, place) => this.#cpus(value, place),
        pids: (value, place) => this.#within(value, place, 1, 4_194_304),
      },
    );
    const process = { env: this.#map(text), user: text, workingDir: path, limits };
    const owned = { mode, uid: id, gid: id, required: boolean, target: path };
    this.#kinds = {
      scratch: this.#fields({}, {}),
      image: this.#fields({ reference: text }, {}),
      context: this.#fields({}, {}),
      http: this.#fields(
        { url: (value, place) => this.#url(value, place) },
        {
          checksum: (value, place) => this.#checksum(value, place),
          filename: (value, place) => this.#filename(value, place),
          unpack: boolean,
        },
      ),
      git: this.#fields(
        { url: (value, place) => this.#repository(value, place) },
        { keepGitDirectory: boolean, checksum: (value, place) => this.#commit(value, place) },
      ),
      files: this.#fields({ files: this.#list(this.#fields({ path, text }, { mode })) }, {}),
      copy: this.#fields(
        { base: text, from: text, paths: this.#list(path), to: path },
        { ...owner, mode, exclude: (value, place) => document.strings(value, place) },
      ),
      mkdir: this.#fields({ base: text, path }, { ...owner, mode }),
      run: this.#fields(
        { base: text, args },
        {
          ...process,
          network: this.#oneOf('default', 'none', 'host'),
          mounts: this.#list((value, place) => this.#mount(value, place)),
          timeoutMs,
          retries: (value, place) => this.#within(value, place, 0, maxRetries),
          cacheTtlMs: (value, place) => this.#within(value, place, 0, maxCacheTtlMs),
          allowedHosts: this.#list((value, place) => this.#host(value, place, true)),
          hosts: (value, place) => this.#hosts(value, place),
          services: (value, place) =>
            this.#services(
              document.array(
                value,
                place,
                maxServices,
                this.#fields(
                  { name: (name, at) => this.#host(name, at, false), from: text },
                  { ...process, args, ready: this.#fields({ args }, { timeoutMs }) },
                ),
              ),
              place,
            ),
        },
      ),
      merge: this.#fields({ trees: (value, place) => this.#some(document.strings(value, place), place) }, {}),
      difference: this.#fields({ lower: text, upper: text }, {}),
    };
    this.#mounts = {
      cache: this.#fields({ target: path }, { id: text, sharing: this.#oneOf('shared', 'private', 'locked') }),
      bind: this.#fields({ target: path, from: text }, { path, writable: boolean }),
      tmpfs: this.#fields({ target: path }, { sizeBytes: (value, place) => this.#within(value, place, 1, Number.MAX_SAFE_INTEGER) }),
      secret: this.#fields({ id: text }, { ...owned, env: (value, place) => this.#variable(value, place), invalidate: boolean }),
      ssh: this.#fields({}, { ...owned, id: text }),
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
    const { id, name, group, kind, ...rest } = this.#document.object(value, place);
    const idText = this.#document.string(id, `${place}.id`, 200);
    if (!/^[\w.-]+$/.test(idText)) throw this.#document.error(`${place}.id`, `"${idText}" may have letters, digits, ".", "_" and "-" only`);
    const shown = name === undefined || name === null ? {} : { name: this.#document.string(name, `${place}.name`, 10_000) };
    const grouped = group === undefined || group === null ? {} : { group: this.#document.string(group, `${place}.group`, 200) };
    return { id: idText, ...shown, ...grouped, kind, ...this.#kind(this.#kinds, kind, place)(rest, place) } as DefinitionStep;
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

  #cpus(value: unknown, place: string): number {
    if (typeof value === 'number' && value >= 0.01 && value <= 100_000) return value;
    throw this.#document.error(place, `is ${JSON.stringify(value)?.slice(0, 50)}, expected a number of processors from 0.01`);
  }

  #variable(value: unknown, place: string): string {
    const name = this.#document.string(value, place, 1000);
    if (/^[^=\0]+$/.test(name)) return name;
    throw this.#document.error(place, `${JSON.stringify(name.slice(0, 100))} is not the name of a variable`);
  }

  #host(value: unknown, place: string, wildcard: boolean): string {
    const name = this.#document.string(value, place, 253);
    if (hostName.test(wildcard ? name.replace(/^\*\./, '') : name)) return name;
    throw this.#document.error(place, `"${name.slice(0, 100)}" is not the name of a host${wildcard ? ', nor *.DOMAIN' : ''}`);
  }

  #hosts(value: unknown, place: string): Record<string, string> {
    const hosts = this.#document.map(value, place, 1000, (address, at) => {
      const text = this.#document.string(address, at, 100);
      if (isIP(text) === 0) throw this.#document.error(at, `"${text}" is not an address`);
      return text;
    });
    for (const name of Object.keys(hosts)) this.#host(name, place, false);
    return hosts;
  }

  #services(services: Record<string, unknown>[], place: string): Record<string, unknown>[] {
    const names = services.map(({ name }) => name);
    const twice = names.findIndex((name, index) => names.indexOf(name) < index);
    if (twice >= 0) throw this.#document.error(`${place}[${twice}].name`, `"${names[twice]}" is the name of an earlier service`);
    return services;
  }

  #url(value: unknown, place: string): string {
    const url = this.#document.string(value, place, 8192);
    if (/^https?:\/\//i.test(url) && URL.canParse(url)) return url;
    throw this.#document.error(place, `"${url.slice(0, 200)}" is not an http or https URL`);
  }

  #repository(value: unknown, place: string): string {
    const url = this.#document.string(value, place, 8192);
    try {
      if (parseGitReference(url) !== undefined) return url;
    } catch (error) {
      if (error instanceof GitReferenceError) throw this.#document.error(place, `is not right: ${error.message}`);
      throw error;
    }
    throw this.#document.error(place, `"${url.slice(0, 200)}" names no git repository, as https://HOST/PATH.git#REF does`);
  }

  #commit(value: unknown, place: string): string {
    const text = this.#document.string(value, place, 100);
    if (/^[0-9a-f]{7,64}$/.test(text)) return text;
    throw this.#document.error(place, `"${text}" is not a commit: at least 7 hexadecimal digits`);
  }

  #checksum(value: unknown, place: string): string {
    const text = this.#document.string(value, place, 200);
    if (/^sha256:[0-9a-f]{64}$/.test(text)) return text;
    throw this.#document.error(place, `"${text.slice(0, 100)}" is not a digest such as sha256:… with 64 hexadecimal digits`);
  }

  #filename(value: unknown, place: string): string {
    const name = this.#document.string(value, place, 255);
    if (name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name)) return name;
    throw this.#document.error(place, `"${name}" is not the name of a file`);
  }

  #boolean(value: unknown, place: string): boolean {
    if (typeof value === 'boolean') return value;
    throw this.#document.error(place, 'must be true or false');
  }
}
