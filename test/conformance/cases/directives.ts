import type { Case } from '../case.ts';

const root = { WorkingDir: '/' };

export const directiveCases: readonly Case[] = [
  {
    name: 'syntax says nothing here',
    dockerfile: '# syntax=docker/dockerfile:1.26\nFROM scratch\nENV a=1',
    config: { ...root, Env: ['a=1'] },
  },
  { name: 'a byte order mark', dockerfile: '\u{feff}# escape=`\nFROM scratch\nENV a=`\n1', config: { ...root, Env: ['a=1'] } },
  { name: 'CRLF', dockerfile: '# escape=`\r\nFROM scratch\r\nENV a=`\r\n1\r\n', config: { ...root, Env: ['a=1'] } },
  {
    name: 'a first line for a shell',
    dockerfile: '#!/usr/bin/env build\n# escape=`\nFROM scratch\nENV a=`\n1',
    config: { ...root, Env: ['a=1'] },
  },
  { name: 'names of directives in any letters', dockerfile: '# EsCaPe = `\nFROM scratch\nENV a=`\n1', config: { ...root, Env: ['a=1'] } },
  { name: 'without spaces', dockerfile: '#escape=`\nFROM scratch\nENV a=`\n1', config: { ...root, Env: ['a=1'] } },
  {
    name: 'after a comment it is a comment',
    dockerfile: '# hello\n# escape=`\nFROM scratch\nENV a=\\\n1',
    config: { ...root, Env: ['a=1'] },
  },
  {
    name: 'after an empty line it is a comment',
    dockerfile: '\n# escape=`\nFROM scratch\nENV a=\\\n1',
    config: { ...root, Env: ['a=1'] },
  },
  {
    name: 'an unknown one ends them',
    dockerfile: '# unknown=x\n# escape=`\nFROM scratch\nENV a=\\\n1',
    config: { ...root, Env: ['a=1'] },
  },
  {
    name: 'one given twice',
    dockerfile: '# escape=\\\n# escape=`\nFROM scratch',
    error: /^Dockerfile:2:1: the escape directive is given twice/,
  },
  { name: 'an escape that is none', dockerfile: '# escape=x\nFROM scratch', error: /^Dockerfile:1:1: the escape character "x"/ },
  { name: 'the escape holds for words', dockerfile: '# escape=`\nFROM scratch\nENV a=b` c', config: { ...root, Env: ['a=b c'] } },
  {
    name: 'a path with backslashes under another escape',
    dockerfile: '# escape=`\nFROM scratch\nLABEL dir="C:\\\\Program Files"',
    config: { ...root, Labels: { dir: 'C:\\\\Program Files' } },
  },
  {
    name: 'several in any order',
    dockerfile: '# check=skip=all\n# syntax=x\n# escape=`\nFROM scratch\nENV a=`\n1',
    config: { ...root, Env: ['a=1'] },
  },
  {
    name: 'comments of all sorts',
    dockerfile: '# one\n   # two\nFROM scratch\n\t# three\nENV a=1 # four=4',
    config: { ...root, Env: ['a=1', '#=', 'four=4'] },
    error: /is not of the form name=value/,
  },
  {
    name: 'a comment between continued lines',
    dockerfile: 'FROM scratch\nENV a=1 \\\n  # one\n# two\n  b=2',
    config: { ...root, Env: ['a=1', 'b=2'] },
  },
  { name: 'spaces after the escape', dockerfile: 'FROM scratch\nENV a=1 \\  \t\n  b=2', config: { ...root, Env: ['a=1', 'b=2'] } },
  {
    name: 'an escaped escape does not continue',
    dockerfile: 'FROM scratch\nENV a=1\\\\\nENV b=2',
    config: { ...root, Env: ['a=1\\', 'b=2'] },
  },
  {
    name: 'keywords in any letters',
    dockerfile: 'from scratch\nenv a=1\nLaBeL b=2',
    config: { ...root, Env: ['a=1'], Labels: { b: '2' } },
  },
  { name: 'indented keywords', dockerfile: '  FROM scratch\n\tENV a=1', config: { ...root, Env: ['a=1'] } },
  { name: 'a last line without its end', dockerfile: 'FROM scratch\nENV a=1 \\', config: { ...root, Env: ['a=1'] } },
];
