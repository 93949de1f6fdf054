/** Fields whose value is a map with names of the user's: there `a` and `A` are two. */
const maps = new Set(
  'labels options driveropts exposedports volumes endpointsconfig sysctls tmpfs storageopt annotations portbindings'.split(' '),
);

type Level = { inObject: boolean; isMap: boolean; exact: Set<string>; folded: Set<string> };

/**
 * The first field that an object of a JSON text says twice, in whatever case; undefined when there is none. Parsers differ in what they make of it (Go's
 * takes fields in any case, and merges objects; the last, the first or the sum may win), so a plugin could judge another body than the one that is done. Of text
 * that is not JSON nothing is promised.
 */
export function repeatedField(json: string): string | undefined {
  const levels: Level[] = [];
  /** A string that a colon would make a name, and the last one that was a name. */
  let pending: string | undefined;
  let name = '';
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:,]/gs)) {
    const level = levels.at(-1);
    if (token === '{' || token === '[') {
      const isMap = level?.inObject === true && maps.has(fold(name));
      levels.push({ inObject: token === '{', isMap, exact: new Set(), folded: new Set() });
    } else if (token === '}' || token === ']') levels.pop();
    else if (token === ':' && pending !== undefined && level !== undefined) {
      name = unquote(pending);
      if (level.isMap ? level.exact.has(name) : level.folded.has(fold(name))) return name;
      level.exact.add(name);
      level.folded.add(fold(name));
    }
    pending = token.startsWith('"') ? token : undefined;
  }
  return undefined;
}

/** As Go compares the names of fields: the long s and the Kelvin sign are an s and a k. */
function fold(name: string): string {
  return name.toUpperCase().toLowerCase();
}

function unquote(token: string): string {
  try {
    return String(JSON.parse(token));
  } catch (error) {
    if (error instanceof SyntaxError) return token;
    throw error;
  }
}
