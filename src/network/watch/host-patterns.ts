import { isIP } from 'node:net';
import { EngineError } from '../../base/errors.ts';

/** Names and addresses that may be reached. */
export type HostPatterns = {
  readonly names: ReadonlySet<string>;
  readonly suffixes: readonly string[];
  readonly addresses: readonly string[];
};

const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const maxNameLength = 253;

/** `registry.npmjs.org`, `*.debian.org` (whatever is below, and not debian.org itself), `10.0.0.5`. InvalidArgument `ALLOWED_HOST_INVALID` names the one that is none. */
export function parseHostPatterns(texts: readonly string[]): HostPatterns {
  const [names, suffixes, addresses]: [Set<string>, string[], string[]] = [new Set(), [], []];
  for (const text of texts) {
    if (isIP(text) !== 0) {
      addresses.push(text);
      continue;
    }
    const isSuffix = text.startsWith('*.');
    const name = plainName(isSuffix ? text.slice(2) : text);
    if (name.length > maxNameLength || !name.split('.').every((part) => label.test(part))) throw invalid(text);
    if (isSuffix) suffixes.push(`.${name}`);
    else names.add(name);
  }
  return { names, suffixes, addresses };
}

export function allowsHost({ names, suffixes }: HostPatterns, host: string): boolean {
  const name = plainName(host);
  return names.has(name) || suffixes.some((suffix) => name.endsWith(suffix) && name.length > suffix.length);
}

/** As names are compared: lower-case, without the dot of the root. */
export function plainName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

function invalid(text: string): EngineError {
  return new EngineError(
    'InvalidArgument',
    'ALLOWED_HOST_INVALID',
    `${JSON.stringify(text.slice(0, 300))} is no name of hosts that can be allowed`,
    {
      hint: 'Write a name (registry.npmjs.org), all names below one (*.debian.org) or an address, without scheme, port and path.',
    },
  );
}
