import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** An authority, and certificates of it for a daemon and a client, made with openssl. `home` is laid out as DOCKER_CERT_PATH wants it. */
export class Certificates {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    this.authority('ca');
    this.issue('server', 'ca', 'serverAuth', 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n');
    this.issue('client', 'ca', 'clientAuth');
  }

  file(name: string): string {
    return join(this.folder, name);
  }

  get flags(): string[] {
    return ['--tls-ca', this.file('ca.pem'), '--tls-cert', this.file('server.pem'), '--tls-key', this.file('server-key.pem')];
  }

  authority(name: string): void {
    this.#openssl('req', '-x509', ...newKey, '-days', '30', '-subj', `/CN=${name}`, '-keyout', `${name}-key.pem`, '-out', `${name}.pem`);
  }

  issue(name: string, authority: string, usage: string, more = ''): void {
    writeFileSync(this.file('extensions'), `extendedKeyUsage=${usage}\n${more}`);
    this.#openssl('req', ...newKey, '-subj', `/CN=${name}`, '-keyout', `${name}-key.pem`, '-out', `${name}.csr`);
    const from = ['-CA', `${authority}.pem`, '-CAkey', `${authority}-key.pem`, '-CAcreateserial', '-extfile', 'extensions'];
    this.#openssl('x509', '-req', '-in', `${name}.csr`, ...from, '-days', '30', '-out', `${name}.pem`);
  }

  /** A folder with ca.pem, cert.pem and key.pem. */
  home(client: string, authority = 'ca'): string {
    const home = this.file(`home-${client}-${authority}`);
    mkdirSync(home, { recursive: true });
    copyFileSync(this.file(`${authority}.pem`), join(home, 'ca.pem'));
    copyFileSync(this.file(`${client}.pem`), join(home, 'cert.pem'));
    copyFileSync(this.file(`${client}-key.pem`), join(home, 'key.pem'));
    return home;
  }

  #openssl(...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: ['ignore', 'ignore', 'pipe'] });
  }
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
