import { usageError } from '../flags.ts';
import type { RowMethod } from './listing.ts';
import { callFunction, show, truthy } from './template-functions.ts';
import { type Call, type Node, type Operand, type Pipeline, parseTemplate } from './template-parser.ts';

/**
 * A compiled format: the part of Go's text/template that Docker's users write. A field that a value has not is an error when `strict`, because a row of a
 * listing has a fixed set of fields; JSON from the API leaves empty ones out, so there it prints as Go does: `<no value>`.
 */
export function compileTemplate(template: string, options: { strict: boolean }): (data: unknown) => string {
  const nodes = parseTemplate(template);
  return (data) => {
    const evaluation = new Evaluation(data, options.strict);
    evaluation.run(nodes, data);
    return evaluation.text;
  };
}

class Evaluation {
  text = '';
  readonly #strict: boolean;
  #variables: Map<string, unknown>;

  constructor(root: unknown, strict: boolean) {
    this.#strict = strict;
    this.#variables = new Map([['', root]]);
  }

  run(nodes: readonly Node[], dot: unknown): void {
    for (const node of nodes) this.#node(node, dot);
  }

  #node(node: Node, dot: unknown): void {
    if (node.kind === 'text') this.text += node.text;
    else if (node.kind === 'print') this.text += show(this.#pipeline(node.value, dot));
    else if (node.kind === 'assign') this.#variables.set(node.name, this.#pipeline(node.value, dot));
    else if (node.kind === 'if') this.run(truthy(this.#pipeline(node.test, dot)) ? node.then : node.otherwise, dot);
    else if (node.kind === 'with') {
      const value = this.#pipeline(node.value, dot);
      this.run(truthy(value) ? node.then : node.otherwise, truthy(value) ? value : dot);
    } else this.#range(node, dot);
  }

  #range(node: Node & { kind: 'range' }, dot: unknown): void {
    const over = this.#pipeline(node.over, dot);
    const entries = entriesOf(over);
    for (const [key, element] of entries) {
      if (node.key !== undefined) this.#variables.set(node.key, key);
      if (node.element !== undefined) this.#variables.set(node.element, element);
      this.run(node.body, element);
    }
    if (entries.length === 0) this.run(node.otherwise, dot);
  }

  #pipeline(pipeline: Pipeline, dot: unknown): unknown {
    let value: unknown;
    pipeline.forEach((call, at) => {
      value = this.#call(call, dot, at === 0 ? [] : [value]);
    });
    return value;
  }

  #call(call: Call, dot: unknown, piped: readonly unknown[]): unknown {
    const args = call.args.map((operand) => this.#operand(operand, dot));
    if (call.function !== undefined) return callFunction(call.function, [...args, ...piped]);
    const [value, argument] = args;
    if (args.length === 1) return value;
    if (typeof value !== 'function') throw usageError(`template: ${JSON.stringify(argument)} follows a field that takes no argument`);
    return (value as RowMethod)(String(argument));
  }

  #operand(operand: Operand, dot: unknown): unknown {
    if (operand.kind === 'literal') return operand.value;
    if (operand.kind === 'pipeline') return this.#field(this.#pipeline(operand.pipeline, dot), operand.names);
    if (operand.kind === 'field') return this.#field(dot, operand.names);
    if (!this.#variables.has(operand.name)) throw usageError(`template variable $${operand.name} is not defined`);
    return this.#field(this.#variables.get(operand.name), operand.names);
  }

  #field(from: unknown, names: readonly string[]): unknown {
    let value = from;
    for (const name of names) {
      const holder = value;
      const has = typeof holder === 'object' && holder !== null && Object.hasOwn(holder, name);
      if (!has && this.#strict) throw unknownField(name, holder);
      value = has ? (holder as Record<string, unknown>)[name] : undefined;
    }
    return value;
  }
}

function unknownField(name: string, holder: unknown) {
  const known = typeof holder === 'object' && holder !== null && !Array.isArray(holder) ? Object.keys(holder) : [];
  return usageError(
    `template: there is no field .${name}`,
    known.length === 0 ? undefined : `Fields: ${known.map((field) => `.${field}`).join(' ')}`,
  );
}

function entriesOf(value: unknown): [unknown, unknown][] {
  if (Array.isArray(value)) return value.map((element, at) => [at, element]);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
}
