import { findProgram, runProgram } from './programs.ts';

/**
 * Tells systemd, when it started this process with Type=notify, that the daemon answers now. Goes through systemd-notify: Node has no
 * datagram sockets of the unix kind, and where systemd runs, so does its program. Resolves to what went wrong, or to undefined.
 */
export async function notifyReady(): Promise<string | undefined> {
  const socket = process.env.NOTIFY_SOCKET;
  if (socket === undefined || socket === '') return undefined;
  const path = findProgram('systemd-notify');
  if (path === undefined) return 'systemd waits for a notice (Type=notify), and systemd-notify is not installed: use Type=exec';
  const { ok, output } = await runProgram(path, ['--ready', '--status=Running'], { NOTIFY_SOCKET: socket });
  return ok ? undefined : `systemd-notify failed: ${output}`;
}
