import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** packaging/ seen from src/host/, and from dist/ when bundled. */
const places = ['../../packaging', '../packaging'].map((path) => join(import.meta.dirname, path));

/** The Debian packages that the engine runs on: packaging/debian-packages.txt, which the launcher reads too. */
export function requiredPackages(): string[] {
  const directory = places.find((path) => existsSync(join(path, 'debian-packages.txt')));
  if (directory === undefined) return [];
  return readFileSync(join(directory, 'debian-packages.txt'), 'utf8')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

export function aptInstall(debianPackage: string): string {
  return `apt-get install -y ${debianPackage}`;
}
