import type { Case } from '../case.ts';

const root = { WorkingDir: '/' };

export const contextCases: readonly Case[] = [
  {
    name: 'COPY --from a named context',
    contexts: { lib: { 'a/b': 'x' } },
    dockerfile: 'FROM scratch\nCOPY --from=lib a/b /c',
    tree: ['f c 644 0:0 "x"'],
  },
  {
    name: 'a named context in other letters',
    contexts: { lib: { a: 'x' } },
    dockerfile: 'FROM scratch\nCOPY --from=LIB a /',
    tree: ['f a 644 0:0 "x"'],
  },
  {
    name: 'FROM a named context',
    contexts: { rootfs: { 'etc/a': 'x' } },
    dockerfile: 'FROM rootfs\nENV a=1',
    tree: ['d etc 755 0:0', 'f etc/a 644 0:0 "x"'],
    config: { ...root, Env: ['a=1'] },
  },
  {
    name: 'a named context takes the place of an image',
    contexts: { 'example.com/team/lib:2': { a: 'mine' } },
    dockerfile: 'FROM scratch\nCOPY --from=example.com/team/lib:2 a /',
    tree: ['f a 644 0:0 "mine"'],
  },
  {
    name: 'a named context for an image without its tag',
    contexts: { alpine: { a: 'mine' } },
    dockerfile: 'FROM docker.io/library/alpine:latest',
    tree: ['f a 644 0:0 "mine"'],
  },
  {
    name: 'a named context takes the place of a stage, instructions and all',
    contexts: { build: { out: 'ready' } },
    dockerfile: 'FROM nowhere/at-all AS build\nRUN make\nFROM scratch\nCOPY --from=build /out /',
    tree: ['f out 644 0:0 "ready"'],
  },
  {
    name: 'a named context for another image',
    contexts: { web: { image: 'trigger' } },
    dockerfile: 'FROM scratch\nCOPY --from=web /f /',
    tree: ['f f 644 0:0 "from the image\\n"'],
  },
  {
    name: 'FROM a name for another image, its config and triggers too',
    files: { extra: 'x' },
    contexts: { web: { image: 'trigger' } },
    dockerfile: 'FROM web',
    tree: ['f extra 644 0:0 "x"', 'f f 644 0:0 "from the image\\n"'],
    config: { Env: ['triggered=yes'], Labels: { from: 'image' } },
  },
  {
    name: 'FROM a name for scratch',
    contexts: { web: { image: 'scratch' } },
    dockerfile: 'FROM web\nENV a=1',
    tree: [],
    config: { ...root, Env: ['a=1'] },
  },
  {
    name: 'a bind mount of a named context',
    contexts: { lib: { a: 'x' } },
    dockerfile: 'FROM base\nRUN --mount=from=lib,target=/l cat /l/a > /o',
    has: ['f o 644 0:0 "x"'],
  },
  {
    name: 'a named context has its own .dockerignore',
    contexts: { lib: { a: 'x', b: 'y', '.dockerignore': 'b\n.dockerignore\n' } },
    dockerfile: 'FROM scratch\nCOPY --from=lib . /',
    tree: ['f a 644 0:0 "x"'],
  },
  {
    name: 'a named context does not hide a stage that is only numbered',
    files: { a: 'main' },
    contexts: { lib: { a: 'lib' } },
    dockerfile: 'FROM scratch\nCOPY a /a\nFROM scratch\nCOPY --from=0 /a /b\nCOPY --from=lib /a /c',
    tree: ['f b 644 0:0 "main"', 'f c 644 0:0 "lib"'],
  },
  {
    name: 'a missing file of a named context',
    contexts: { lib: { a: 'x' } },
    dockerfile: 'FROM scratch\nCOPY --from=lib b /',
    error: /^Dockerfile:2:17: b does not exist in context lib/,
  },
];
