import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearest } from '../base/nearest.ts';
import { catalog, type Entry, sections } from './catalog.ts';
import type { Command } from './command.ts';
import { groupHelp, programHelp } from './help.ts';
import { parserOf } from './parser.ts';

async function commands(entries: Readonly<Record<string, Entry>> = catalog, prefix = ''): Promise<[string, Command][]> {
  const found = await Promise.all(
    Object.entries(entries).map(async ([name, entry]): Promise<[string, Command][]> => {
      if (entry.kind === 'group') return commands(entry.entries, `${prefix}${name} `);
      return entry.kind === 'command' ? [[`${prefix}${name}`, await entry.load()]] : [];
    }),
  );
  return found.flat();
}

async function shown(print: (output: { write(text: string): void }) => void | Promise<void>): Promise<string> {
  let all = '';
  await print({
    write(text) {
      all += text;
    },
  });
  return all;
}

test('the help lists each command once', () => {
  const listed = sections.flatMap(([, names]) => names);
  assert.deepEqual([...listed].sort(), Object.keys(catalog).sort());
});

test('every command loads, and its flags have names of their own', async () => {
  for (const [path, command] of await commands()) {
    const names = Object.entries(command.flags).flatMap(([name, flag]) => [
      `--${name}`,
      ...(flag.aliases ?? []).map((alias) => `--${alias}`),
      ...(flag.short === undefined ? [] : [`-${flag.short}`]),
    ]);
    assert.equal(new Set(names).size, names.length, `${path}: ${names.join(' ')}`);
    assert.match(command.summary, /^[A-Z].*[^.]$/, path);
    const help = shown((output) => parserOf(path, command, output).outputHelp());
    for (const name of Object.keys(command.flags)) assert.ok((await help).includes(`--${name}`), `${path} --${name}`);
  }
});

test('helps of the program and of groups', async () => {
  assert.match(await shown(programHelp), /Containers:\n {2}run +Make a container/);
  const group = catalog.image;
  assert.ok(group?.kind === 'group');
  assert.match(await shown((output) => groupHelp('image', group, output)), /ls +List images/);
});

test('the nearest word is near', () => {
  assert.equal(nearest('imgaes', Object.keys(catalog)), 'images');
  assert.equal(nearest('stpo', Object.keys(catalog)), 'stop');
  assert.equal(nearest('frobnicate', Object.keys(catalog)), undefined);
});
