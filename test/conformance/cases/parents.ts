import type { Files } from '../../support/builds.ts';
import type { Case } from '../case.ts';

const tree: Files = {
  'foo1/': { mode: 0o700 },
  'foo1/foo2/': { mode: 0o750 },
  'foo1/foo2/bar': 'testing',
  'foo1/foo2/baz': 'testing2',
  'foo1/other': 'x',
};
/** The files of BuildKit's own suite for the pivot. */
const deep: Files = {
  'test/a/b/c/d/foo': '',
  'test/a/b/c/d/e/bay': '',
  'test/a/b2/c/d/e/bar': '',
  'test/a/b/c2/d/e/baz': '',
  'test/a/b/c2/d/e2/baz': '',
};

/** `COPY --parents <what> /out/` of `deep`; every file and directory that comes. */
const pivots: [sources: string, files: string[]][] = [
  ['/test/a/b/./c/d', ['c', 'c/d', 'c/d/e', 'c/d/e/bay', 'c/d/foo']],
  [
    '/test/a/b/c/d/.',
    ['test', 'test/a', 'test/a/b', 'test/a/b/c', 'test/a/b/c/d', 'test/a/b/c/d/e', 'test/a/b/c/d/e/bay', 'test/a/b/c/d/foo'],
  ],
  [
    './test/a/b/c/d',
    ['test', 'test/a', 'test/a/b', 'test/a/b/c', 'test/a/b/c/d', 'test/a/b/c/d/e', 'test/a/b/c/d/e/bay', 'test/a/b/c/d/foo'],
  ],
  ['/test/a/./b/./c', ['b', 'b/c', 'b/c/d', 'b/c/d/e', 'b/c/d/e/bay', 'b/c/d/foo']],
  ['/test/a/./*/c', ['b', 'b/c', 'b/c/d', 'b/c/d/e', 'b/c/d/e/bay', 'b/c/d/foo', 'b2', 'b2/c', 'b2/c/d', 'b2/c/d/e', 'b2/c/d/e/bar']],
  ['/test/a/b*/./c/**/e', ['c', 'c/d', 'c/d/e', 'c/d/e/bar', 'c/d/e/bay']],
  ['/test/a/b/c*/./d/**/baz /test/a/b*/./c/**/bar', ['c', 'c/d', 'c/d/e', 'c/d/e/bar', 'd', 'd/e', 'd/e/baz', 'd/e2', 'd/e2/baz']],
  ['/test/a/b/./c/d/foo', ['c', 'c/d', 'c/d/foo']],
  ['/test/a/b2*/c/d/e/nothing', []],
  ['/test/a/b/./c9*', []],
  ['/test/**/foo', ['test', 'test/a', 'test/a/b', 'test/a/b/c', 'test/a/b/c/d', 'test/a/b/c/d/foo']],
];

const leaves = new Set(['foo', 'bay', 'bar', 'baz']);

export const parentsCases: readonly Case[] = [
  ...pivots.flatMap(([sources, files]): Case[] => {
    const tree = [
      'd out 755 0:0',
      ...files.map((path) => (leaves.has(path.split('/').at(-1) ?? '') ? `f out/${path} 644 0:0 ""` : `d out/${path} 755 0:0`)),
    ];
    return [
      { name: `--parents ${sources}`, files: deep, dockerfile: `FROM scratch\nCOPY --parents ${sources} /out/`, tree },
      {
        name: `--parents ${sources} of a stage`,
        files: deep,
        dockerfile: `FROM scratch AS base\nCOPY . /\nFROM scratch\nCOPY --from=base --parents ${sources} /out/`,
        tree,
      },
    ];
  }),
  {
    name: '--parents keeps the modes of the directories on the way',
    files: tree,
    dockerfile: 'FROM scratch\nCOPY --parents foo1/foo2/bar /',
    tree: ['d foo1 700 0:0', 'd foo1/foo2 750 0:0', 'f foo1/foo2/bar 644 0:0 "testing"'],
    history: ['COPY --parents foo1/foo2/bar / # buildkit'],
  },
  {
    name: '--parents into the working directory',
    files: tree,
    dockerfile: 'FROM scratch\nWORKDIR /test\nCOPY --parents foo1/foo2/ba* .',
    tree: [
      'd test 755 0:0',
      'd test/foo1 700 0:0',
      'd test/foo1/foo2 750 0:0',
      'f test/foo1/foo2/bar 644 0:0 "testing"',
      'f test/foo1/foo2/baz 644 0:0 "testing2"',
    ],
  },
  {
    name: '--parents=false is an ordinary copy',
    files: tree,
    dockerfile: 'FROM scratch\nCOPY --parents=false foo1/foo2/bar /',
    tree: ['f bar 644 0:0 "testing"'],
  },
  {
    name: '--parents of a whole directory',
    files: tree,
    dockerfile: 'FROM scratch\nCOPY --parents foo1/foo2 /x/',
    tree: [
      'd x 755 0:0',
      'd x/foo1 700 0:0',
      'd x/foo1/foo2 750 0:0',
      'f x/foo1/foo2/bar 644 0:0 "testing"',
      'f x/foo1/foo2/baz 644 0:0 "testing2"',
    ],
  },
  {
    name: '--parents with --exclude',
    files: tree,
    dockerfile: 'FROM scratch\nCOPY --parents --exclude=**/baz foo1/foo2 /',
    tree: ['d foo1 700 0:0', 'd foo1/foo2 750 0:0', 'f foo1/foo2/bar 644 0:0 "testing"'],
  },
  {
    name: '--parents with --chown and --chmod, directories on the way too',
    files: tree,
    dockerfile: 'FROM scratch\nCOPY --parents --chown=3:4 --chmod=711 foo1/foo2/bar /',
    tree: ['d foo1 711 3:4', 'd foo1/foo2 711 3:4', 'f foo1/foo2/bar 711 3:4 "testing"'],
    history: ['COPY --parents --chown=3:4 --chmod=711 foo1/foo2/bar / # buildkit'],
  },
  {
    name: '--parents of a missing file',
    files: tree,
    dockerfile: 'FROM scratch\nCOPY --parents foo1/nothing /',
    error: /^Dockerfile:2:16: foo1\/nothing does not exist in build context/,
  },
  {
    name: '--parents of a missing directory before the pivot',
    files: tree,
    dockerfile: 'FROM scratch\nCOPY --parents nothing/./bar /',
    error: /nothing\/bar does not exist in build context/,
  },
  { name: 'ADD has no --parents', files: tree, dockerfile: 'FROM scratch\nADD --parents foo1 /', error: /ADD has no flag --parents/ },
  {
    name: '--parents merges into what is there',
    files: tree,
    dockerfile: 'FROM scratch\nCOPY --parents foo1/foo2/bar /\nCOPY --parents foo1/other foo1/foo2/baz /',
    tree: [
      'd foo1 700 0:0',
      'd foo1/foo2 750 0:0',
      'f foo1/foo2/bar 644 0:0 "testing"',
      'f foo1/foo2/baz 644 0:0 "testing2"',
      'f foo1/other 644 0:0 "x"',
    ],
  },
];
