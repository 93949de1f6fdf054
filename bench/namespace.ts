/** A command as it runs inside the network namespace of a process; as it is without one. */
export function inNamespace(pid: number | undefined, ...words: string[]): string[] {
  return pid === undefined ? words : ['nsenter', `--net=/proc/${pid}/ns/net`, ...words];
}
