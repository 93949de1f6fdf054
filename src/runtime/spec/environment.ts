import { defaultPath } from './command.ts';

/** Later entries replace earlier ones of the same name in place; an entry without `=` takes the name away, as in Docker. */
export function mergeEnv(...lists: (readonly string[] | null | undefined)[]): string[] {
  const values = new Map<string, string>();
  for (const entry of lists.flatMap((list) => list ?? [])) {
    const at = entry.indexOf('=');
    if (at === -1) values.delete(entry);
    else values.set(entry.slice(0, at), entry);
  }
  return [...values.values()];
}

/** What a process sees: Docker's own variables, then the container's, then HOME unless it has one. */
export function processEnv(options: { env: readonly string[]; hostname?: string | undefined; tty: boolean; home: string }): string[] {
  const own = [
    `PATH=${defaultPath}`,
    ...(options.hostname ? [`HOSTNAME=${options.hostname}`] : []),
    ...(options.tty ? ['TERM=xterm'] : []),
  ];
  const merged = mergeEnv(own, options.env);
  return merged.some((entry) => entry.startsWith('HOME=')) ? merged : [...merged, `HOME=${options.home}`];
}
