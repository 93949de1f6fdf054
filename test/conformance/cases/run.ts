import type { Case } from '../case.ts';

export const runCases: readonly Case[] = [
  { name: 'shell form', dockerfile: 'FROM base\nRUN echo "a  b" > /o', has: ['f o 644 0:0 "a  b\\n"'] },
  { name: 'exec form', dockerfile: 'FROM base\nRUN ["/bin/touch", "/a b"]', has: ['f a b 644 0:0 ""'] },
  { name: 'exec form finds the command in PATH', dockerfile: 'FROM base\nRUN ["touch", "/x"]', has: ['f x 644 0:0 ""'] },
  { name: 'exec form does not expand', dockerfile: 'FROM base\nENV v=1\nRUN ["touch", "/$v"]', has: ['f $v 644 0:0 ""'] },
  {
    name: 'continued lines',
    dockerfile: 'FROM base\nRUN echo a \\\n # comment\n  b \\\n\n  c > /o',
    has: ['f o 644 0:0 "a b c\\n"'],
    warning: /NoEmptyContinuation/,
  },
  { name: 'in the working directory', dockerfile: 'FROM base\nWORKDIR /w\nRUN pwd > o', has: ['f w/o 644 0:0 "/w\\n"'] },
  { name: 'another shell', dockerfile: 'FROM base\nSHELL ["/bin/sh", "-x", "-c"]\nRUN echo a > /o', has: ['f o 644 0:0 "a\\n"'] },
  {
    name: 'files are changed and removed',
    dockerfile: 'FROM base\nRUN mkdir /d && touch /d/a /d/b\nRUN rm /d/a && chmod 700 /d',
    has: ['d d 700 0:0', 'f d/b 644 0:0 ""'],
    lacks: ['d/a'],
  },
  {
    name: 'a directory is removed and made again',
    dockerfile: 'FROM base\nRUN mkdir /d && touch /d/a\nRUN rm -r /d && mkdir /d && touch /d/b',
    has: ['d d 755 0:0', 'f d/b 644 0:0 ""'],
    lacks: ['d/a'],
  },
  {
    name: 'owners and links',
    dockerfile: 'FROM base\nRUN touch /a && chown 5:6 /a && ln -s a /l && ln /a /h',
    has: ['f a 644 5:6 ""', 'f h 644 5:6 ""', 'l l 777 0:0 -> a'],
  },
  {
    name: 'a command that fails',
    dockerfile: 'FROM base\nRUN exit 3',
    error: /^Dockerfile:2:1: "\/bin\/sh -c exit 3" ended with exit code 3/,
  },
  {
    name: 'an unknown mount type',
    dockerfile: 'FROM base\nRUN --mount=type=bnd,target=/x true',
    error: /^Dockerfile:2:5: .*type is one of/,
    hint: /bind/,
  },
  {
    name: 'an unknown mount option',
    dockerfile: 'FROM base\nRUN --mount=type=cache,traget=/x true',
    error: /no option traget/,
    hint: /target/,
  },
  { name: 'a mount without a target', dockerfile: 'FROM base\nRUN --mount=type=cache true', error: /needs a target/ },
  { name: 'a mount on the root', dockerfile: 'FROM base\nRUN --mount=type=cache,target=/ true', error: /cannot cover the root/ },
  {
    name: 'a mount option of another type',
    dockerfile: 'FROM base\nRUN --mount=type=bind,target=/x,size=1m true',
    error: /size does not belong to a bind mount/,
  },
  {
    name: 'a bind mount of a missing path',
    dockerfile: 'FROM base\nRUN --mount=source=nope,target=/x true',
    error: /^Dockerfile:2:5: \/nope does not exist in build context/,
  },
  {
    name: 'a bind mount of the context',
    files: { a: 'x' },
    dockerfile: 'FROM base\nRUN --mount=target=/ctx cat /ctx/a > /o',
    has: ['f o 644 0:0 "x"'],
    lacks: ['ctx'],
  },
  {
    name: 'a bind mount relative to the working directory',
    files: { 'd/a': 'x' },
    dockerfile: 'FROM base\nWORKDIR /w\nRUN --mount=source=d,target=m cat m/a > o',
    has: ['f w/o 644 0:0 "x"'],
    lacks: ['w/m'],
  },
  {
    name: 'a bind mount of another stage',
    dockerfile: 'FROM base AS one\nRUN mkdir /d && echo x > /d/a\nFROM base\nRUN --mount=from=one,source=/d,target=/m cat /m/a > /o',
    has: ['f o 644 0:0 "x\\n"'],
  },
  {
    name: 'a bind mount is read-only',
    dockerfile: 'FROM base\nRUN --mount=target=/ctx touch /ctx/a',
    files: { b: '' },
    error: /ended with exit code 1/,
  },
  { name: '--security=insecure', dockerfile: 'FROM base\nRUN --security=insecure true', error: /security\.insecure is not allowed/ },
];
