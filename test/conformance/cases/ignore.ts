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
];
