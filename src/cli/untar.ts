import { EngineError, isErrno } from '../base/errors.ts';

/**
 * Unpacks a tar into an existing folder with the tar program, which neither follows links out of it nor takes absolute names. Files belong to whoever
 * runs the command.
 */
export async function untar(source: AsyncIterable<Uint8Array>, directory: string, options: { strip?: number } = {}): Promise<void> {
  const args = ['-x', '-p', '--no-same-owner', `--strip-components=${options.strip ?? 0}`, '-C', directory];
  const tar = process.getBuiltinModule('node:child_process').spawn('tar', args, { stdio: ['pipe', 'inherit', 'pipe'] });
  let complaints = '';
  tar.stderr.on('data', (piece: Buffer) => {
    if (complaints.length < 4096) complaints += piece.toString('utf8');
  });
  const ended = new Promise<number>((resolve, reject) => {
    tar.once('error', reject);
    tar.once('close', (code) => resolve(code ?? 1));
  });
  ended.catch(() => undefined); // awaited below
  tar.stdin.on('error', () => undefined); // its exit status tells
  try {
    for await (const chunk of source) {
      if (!tar.stdin.writable) break;
      if (!tar.stdin.write(chunk)) await Promise.race([new Promise((resolve) => tar.stdin.once('drain', resolve)), ended]);
    }
    tar.stdin.end();
    const status = await ended;
    if (status !== 0) throw new EngineError('Internal', 'UNPACK_FAILED', `unpacking into ${directory} failed: ${complaints.trim()}`);
  } catch (error) {
    tar.kill('SIGKILL');
    if (isErrno(error, 'ENOENT'))
      throw new EngineError('Unavailable', 'NO_TAR', 'the tar program is missing', {
        hint: 'Install it: apt-get install tar',
        cause: error,
      });
    throw error;
  }
}
