import type { Case } from '../case.ts';

const all = 'FROM scratch\nCOPY . /';

export const ignoreCases: readonly Case[] = [
  {
    name: 'a file',
    files: { '.dockerignore': 'b\n', a: '1', b: '2' },
    dockerfile: `${all}`,
    tree: ['f .dockerignore 644 0:0 "b\\n"', 'f a 644 0:0 "1"'],
  },
  { name: 'itself', files: { '.dockerignore': '.dockerignore\n', a: '1' }, dockerfile: all, tree: ['f a 644 0:0 "1"'] },
  {
    name: 'a directory',
    files: { '.dockerignore': '.dockerignore\nnode_modules', 'node_modules/x': '1', 'src/node_modules/y': '2' },
    dockerfile: all,
    tree: ['d src 755 0:0', 'd src/node_modules 755 0:0', 'f src/node_modules/y 644 0:0 "2"'],
  },
  {
    name: 'at any depth',
    files: { '.dockerignore': '.dockerignore\n**/node_modules', 'node_modules/x': '1', 'src/node_modules/y': '2' },
    dockerfile: all,
    tree: ['d src 755 0:0'],
  },
  {
    name: 'all but',
    files: { '.dockerignore': '*\n!src\nsrc/*.log', 'src/a': '1', 'src/b.log': '2', c: '3' },
    dockerfile: all,
    tree: ['d src 755 0:0', 'f src/a 644 0:0 "1"'],
  },
  {
    name: 'a file in a directory that is left out',
    files: { '.dockerignore': '*\n!src/keep', 'src/keep': '1', 'src/b': '2' },
    dockerfile: all,
    tree: ['d src 755 0:0', 'f src/keep 644 0:0 "1"'],
  },
  {
    name: 'comments and empty lines',
    files: { '.dockerignore': '# b\n\n  a  \n.dockerignore', a: '1', b: '2' },
    dockerfile: all,
    tree: ['f b 644 0:0 "2"'],
  },
  { name: 'CRLF', files: { '.dockerignore': 'a\r\n.dockerignore\r\n', a: '1', b: '2' }, dockerfile: all, tree: ['f b 644 0:0 "2"'] },
  {
    name: "the Dockerfile's own file wins",
    files: { '.dockerignore': 'a', 'Dockerfile.dockerignore': '*ignore\nb', a: '1', b: '2' },
    dockerfile: all,
    tree: ['f a 644 0:0 "1"'],
  },
  {
    name: 'COPY of a file that is left out',
    files: { '.dockerignore': 'a', a: '1' },
    dockerfile: 'FROM scratch\nCOPY a /',
    error: /a does not exist in build context/,
    hint: /\.dockerignore leaves it out/,
  },
  {
    name: 'a wildcard does not see what is left out',
    files: { '.dockerignore': 'a1', a1: '1', a2: '2' },
    dockerfile: 'FROM scratch\nCOPY a* /',
    tree: ['f a2 644 0:0 "2"'],
  },
  { name: 'a malformed pattern', files: { '.dockerignore': 'ok\na[', a: '1' }, dockerfile: all, error: /line 2 of the \.dockerignore/ },
  {
    name: 'exceptions by name',
    files: { '.dockerignore': 'ba*\n!bay\n.dockerignore\n', foo: '1', bar: '2', baz: '3', bay: '4' },
    dockerfile: all,
    tree: ['f bay 644 0:0 "4"', 'f foo 644 0:0 "1"'],
  },
  { name: 'a lone exception mark', files: { '.dockerignore': '!\n', a: '1' }, dockerfile: all, error: /line 1 of the \.dockerignore/ },
  ...(
    [
      ['a question mark', '?a', { ba: '1', a: '2', bba: '3' }, ['a', 'bba']],
      ['a class', '[ab]x', { ax: '1', bx: '2', cx: '3' }, ['cx']],
      ['a range', '[a-c]', { a: '1', c: '2', d: '3' }, ['d']],
      ['a negated class', '[^a]', { a: '1', b: '2' }, ['a']],
      ['a star stops at a slash', 'd/*.log', { 'd/a.log': '1', 'd/e/b.log': '2' }, ['d', 'd/e', 'd/e/b.log']],
      ['two stars do not', 'd/**/*.log', { 'd/a.log': '1', 'd/e/b.log': '2', 'd/c': '3' }, ['d', 'd/c', 'd/e']],
      ['two stars at the end', 'd/**', { 'd/a': '1', 'd/e/b': '2', f: '3' }, ['d', 'f']],
      ['a leading slash', '/a', { a: '1', 'd/a': '2' }, ['d', 'd/a']],
      ['a trailing slash', 'd/', { 'd/a': '1', b: '2' }, ['b']],
      ['dots in the path', './x/../a', { a: '1', b: '2' }, ['b']],
      ['the last line wins', 'a\n!a\na', { a: '1', b: '2' }, ['b']],
      ['an exception before has no effect', '!a\na', { a: '1', b: '2' }, ['b']],
      ['all but one below', '**\n!d/e/keep', { 'd/e/keep': '1', 'd/e/drop': '2', x: '3' }, ['d', 'd/e', 'd/e/keep']],
      ['an escaped star', 'a\\*', { 'a*': '1', ab: '2' }, ['ab']],
      ['a hash inside a name', 'a#b', { 'a#b': '1', c: '2' }, ['c']],
      ['a hash after spaces is a name', ' #a', { '#a': '1', b: '2' }, ['b']],
      ['case counts', 'A', { a: '1' }, ['a']],
      ['a dot leaves all', '.', { a: '1' }, ['a']],
    ] as [name: string, lines: string, files: Record<string, string>, kept: string[]][]
  ).map(
    ([name, lines, files, kept]): Case => ({
      name,
      files: { ...files, '.dockerignore': `${lines}\n.dockerignore\n` },
      dockerfile: all,
      tree: kept.map((path) => (files[path] === undefined ? `d ${path} 755 0:0` : `f ${path} 644 0:0 ${JSON.stringify(files[path])}`)),
    }),
  ),
];
