import type { ChildProcess } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { EngineError } from '../../base/errors.ts';
import type { Endpoint } from './endpoint.ts';

/**
 * Begins a connection; what is written waits until it is there. Failures come as the stream's `error`: system errors as they are, others as EngineError.
 * Each direction ends by itself.
 */
export function dial(endpoint: Endpoint): Duplex {
  if (endpoint.kind === 'ssh') return dialSsh(endpoint);
  const net = process.getBuiltinModule('node:net');
  if (endpoint.kind === 'unix') return net.connect({ path: endpoint.path, allowHalfOpen: true });
  if (endpoint.tls === undefined) return net.connect({ host: endpoint.host, port: endpoint.port, allowHalfOpen: true }).setNoDelay(true);
  return dialTls(endpoint, endpoint.tls);
}

type Tcp = Endpoint & { kind: 'tcp' };

function dialTls({ host, port, shown }: Tcp, tls: NonNullable<Tcp['tls']>): Duplex {
  const { ca, cert, key, verify } = tls;
  const options = {
    host,
    port,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
    ...(process.getBuiltinModule('node:net').isIP(host) === 0 ? { servername: host } : {}),
    rejectUnauthorized: verify,
    minVersion: 'TLSv1.2' as const,
    allowHalfOpen: true,
  };
  const socket = process.getBuiltinModule('node:tls').connect(options);
  socket.setNoDelay(true);
  const { emit } = socket;
  // The one place where every failure passes on its way to whoever uses the stream.
  socket.emit = (event: string | symbol, ...args: unknown[]) =>
    emit.call(socket, event, ...(event === 'error' ? [tlsFailure(args[0], shown, cert === undefined)] : args));
  return socket;
}

/** OpenSSL's and Node's codes for what is wrong with a certificate are many; what they have in common is that they are no system error. */
function tlsFailure(error: unknown, shown: string, anonymous: boolean): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (!/^ERR_(?:SSL|TLS|OSSL)|CERT|ISSUER|SIGNATURE|VERIFY/.test(code)) return error;
  const why = openSslReason(error) ?? (error instanceof Error ? error.message : code);
  const hint = /alert|ALERT/.test(`${code} ${why}`)
    ? `The daemon turned ${anonymous ? 'you away, as you showed no certificate' : 'your certificate away'}: see --tlscert and --tlskey, or DOCKER_CERT_PATH.`
    : "Check --tlscacert (or ca.pem in DOCKER_CERT_PATH), and that the daemon's certificate is for this name.";
  return new EngineError('Denied', 'TLS_FAILED', `No secure connection to ${shown}: ${why}`, { hint, cause: error });
}

/** The few words in OpenSSL's line of places and numbers. */
function openSslReason(error: unknown): string | undefined {
  return error instanceof Error && 'reason' in error && typeof error.reason === 'string' ? error.reason : undefined;
}

type Ssh = Endpoint & { kind: 'ssh' };

/** One ssh for each connection; a master connection in ~/.ssh/config (ControlMaster) makes that cheap. */
function dialSsh(endpoint: Ssh): Duplex {
  const { host, user, port, path, shown } = endpoint;
  const args = ['-o', 'ConnectTimeout=30', '-T'];
  if (user !== undefined) args.push('-l', user);
  if (port !== undefined) args.push('-p', String(port));
  args.push('--', host, 'slipway', ...(path === undefined ? [] : ['--host', quote(`unix://${path}`)]), 'system', 'dial-stdio');
  // A session of its own: ctrl-C is for the container, and must not end the connection that carries it.
  const child = process.getBuiltinModule('node:child_process').spawn('ssh', args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  return new SshStream(child, shown).stream;
}

/** For the far side's shell. */
function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** ssh's standard input and output as one stream, which fails with what ssh says when it ends before the far side did. */
class SshStream {
  readonly stream: Duplex;
  #complaints = '';

  constructor(child: ChildProcess, shown: string) {
    const { stdin, stdout, stderr } = child;
    if (stdin === null || stdout === null || stderr === null) throw new Error('ssh was started without pipes');
    stderr.on('data', (piece: Buffer) => {
      if (this.#complaints.length < 4096) this.#complaints += piece.toString('utf8');
    });
    stdin.on('error', () => {}); // its exit tells
    const ended = new Promise<Error | null>((resolve) => {
      child.once('error', (error) => resolve(this.#failure(shown, error.message)));
      child.once('close', (code) => resolve(code === 0 ? null : this.#failure(shown, `ssh ended with status ${code}`)));
    });
    const { Duplex: Base } = process.getBuiltinModule('node:stream');
    this.stream = new Base({
      read: () => void stdout.resume(),
      write: (chunk, _encoding, done) => void (stdin.write(chunk) ? done() : stdin.once('drain', done)),
      final: (done) => void stdin.end(done),
      destroy(error, done) {
        child.kill();
        done(error);
      },
    });
    stdout.on('data', (piece: Buffer) => {
      if (!this.stream.push(piece)) stdout.pause();
    });
    stdout.once('end', () => void ended.then((error) => (error === null ? this.stream.push(null) : this.stream.destroy(error))));
  }

  #failure(shown: string, why: string): EngineError {
    const said = this.#complaints.trim();
    return new EngineError('Unavailable', 'DAEMON_UNREACHABLE', `Cannot connect to the Slipway daemon at ${shown}: ${why}`, {
      hint: said === '' ? '"slipway" must be in the far side\'s PATH, and log-in must work without a password (an agent or a key).' : said,
    });
  }
}
