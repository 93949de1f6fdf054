import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('./application/', import.meta.url));
const cache = fileURLToPath(new URL('./.cache/', import.meta.url));

/** The large application with its node_modules (made once: about 40 s), about 107,000 files and 760 MB. */
export function prepareApplication(say: (text: string) => void): string {
  const target = `${cache}application`;
  const lock = readFileSync(`${source}package-lock.json`);
  if (existsSync(`${target}/package-lock.json`) && readFileSync(`${target}/package-lock.json`).equals(lock)) return target;
  say('installing the large application (once)');
  const staging = `${target}.${process.pid}`;
  mkdirSync(staging, { recursive: true });
  try {
    cpSync(source, staging, { recursive: true });
    rmSync(`${staging}/.gitignore`);
    execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: staging, stdio: ['ignore', 'ignore', 'inherit'] });
    rmSync(target, { recursive: true, force: true });
    renameSync(staging, target);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return target;
}

let version = 1;

/** Changes the one line of app.js to something that it never was. */
export function changeOneLine(application: string): void {
  version++;
  writeFileSync(`${application}/app.js`, `// The one line that the benches change.\nexport const version = '${version} ${Date.now()}';\n`);
}
