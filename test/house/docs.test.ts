import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const top = fileURLToPath(new URL('../..', import.meta.url));
const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...listPages('docs'), ...listPages('packaging')];

function listPages(folder: string): string[] {
  return readdirSync(join(top, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name));
}

test('every path that ARCHITECTURE.md names exists', () => {
  const text = readFileSync(join(top, 'docs/ARCHITECTURE.md'), 'utf8');
  const paths = [...text.matchAll(/`((?:src|test|docs|bench|scripts|packaging|examples)\/[^`\s]*)`/g)].map((match) => match[1] ?? '');
  assert.ok(paths.length > 20, `only ${paths.length} paths found`);
  const missing = paths.filter((path) => !existsSync(join(top, path)));
  assert.deepEqual(missing, []);
});

test('every room of src/ is described in ARCHITECTURE.md', () => {
  const text = readFileSync(join(top, 'docs/ARCHITECTURE.md'), 'utf8');
  const rooms = readdirSync(join(top, 'src'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
  assert.deepEqual(
    rooms.filter((room) => !text.includes(`\`src/${room}/\``)),
    [],
  );
});

test('relative links between the pages lead somewhere', () => {
  const broken: string[] = [];
  for (const page of pages) {
    for (const match of readFileSync(join(top, page), 'utf8').matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)) {
      const target = normalize(join(top, dirname(page), match[1] ?? ''));
      if (!existsSync(target)) broken.push(`${page}: ${match[1]}`);
    }
  }
  assert.deepEqual(broken, []);
});
