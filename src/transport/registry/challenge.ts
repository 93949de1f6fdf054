/** What a registry asks for (RFC 9110, WWW-Authenticate). The scheme is in lower case, and so are the parameters' names. */
export type Challenge = { scheme: string; parameters: Record<string, string> };

/** More than any registry sends. */
const maxHeaderLength = 8192;

/** Reads a WWW-Authenticate header; several challenges may be in one. What is not well-formed is left out. */
export function parseChallenges(header: string | undefined): Challenge[] {
  const text = (header ?? '').slice(0, maxHeaderLength);
  const challenges: Challenge[] = [];
  // Either `scheme` before a parameter or at the end, or `name=value`.
  const token = /\s*,?\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?/y;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const [, name = '', quoted, plain] = match;
    const value = quoted?.replace(/\\(.)/g, '$1') ?? plain;
    if (value === undefined) challenges.push({ scheme: name.toLowerCase(), parameters: {} });
    else {
      const current = challenges.at(-1);
      if (current !== undefined) current.parameters[name.toLowerCase()] = value;
    }
  }
  return challenges;
}
