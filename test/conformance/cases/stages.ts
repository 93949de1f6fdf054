import type { Case } from '../case.ts';

const root = { WorkingDir: '/' };

export const stageCases: readonly Case[] = [
  {
    name: 'COPY from a stage',
    files: { a: 'x' },
    dockerfile: 'FROM scratch AS one\nCOPY a /a\nFROM scratch\nCOPY --from=one /a /b',
    tree: ['f b 644 0:0 "x"'],
  },
  {
    name: 'COPY from a stage by number',
    files: { a: 'x' },
    dockerfile: 'FROM scratch\nCOPY a /a\nFROM scratch\nCOPY --from=0 /a /b',
    tree: ['f b 644 0:0 "x"'],
  },
  {
    name: 'COPY from a stage by its name in other letters',
    files: { a: 'x' },
    dockerfile: 'FROM scratch AS One\nCOPY a /a\nFROM scratch\nCOPY --from=ONE /a /b',
    tree: ['f b 644 0:0 "x"'],
  },
  {
    name: 'COPY from an image',
    dockerfile: 'FROM scratch\nCOPY --from=base /etc/group /',
    tree: ['f group 644 0:0 "root:x:0:\\nstaff:x:50:\\n"'],
  },
  {
    name: 'COPY from a stage keeps owners',
    files: { a: 'x' },
    dockerfile: 'FROM scratch AS one\nCOPY --chown=3:4 a /d/a\nFROM scratch\nCOPY --from=one /d /e',
    tree: ['d e 755 0:0', 'f e/a 644 3:4 "x"'],
  },
  {
    name: 'COPY of a whole stage',
    files: { a: 'x' },
    dockerfile: 'FROM scratch AS one\nCOPY a /d/a\nFROM scratch\nCOPY --from=one / /',
    tree: ['d d 755 0:0', 'f d/a 644 0:0 "x"'],
  },
  {
    name: 'FROM a stage',
    files: { a: 'x' },
    dockerfile: 'FROM scratch AS one\nCOPY a /a\nENV e=1\nFROM one\nCOPY a /b',
    tree: ['f a 644 0:0 "x"', 'f b 644 0:0 "x"'],
    config: { Env: ['e=1'], ...root },
  },
  {
    name: 'the target',
    dockerfile: 'FROM scratch AS one\nENV a=1\nFROM scratch AS two\nENV a=2',
    request: { target: 'one' },
    config: { Env: ['a=1'], ...root },
  },
  {
    name: 'the target in other letters',
    dockerfile: 'FROM scratch AS one\nENV a=1\nFROM scratch',
    request: { target: 'ONE' },
    config: { Env: ['a=1'], ...root },
  },
  {
    name: 'an unknown target',
    dockerfile: 'FROM scratch AS build',
    request: { target: 'biuld' },
    error: /Dockerfile has no stage biuld/,
    hint: /Did you mean build\?/,
  },
  {
    name: 'a stage that is not needed is not looked at',
    dockerfile: 'FROM nowhere/nothing AS unused\nRUN x\nFROM scratch\nENV a=1',
    config: { Env: ['a=1'], ...root },
  },
  {
    name: 'a later stage',
    files: { a: 'x' },
    dockerfile: 'FROM scratch\nCOPY --from=two /a /\nFROM scratch AS two',
    request: { target: '0' },
    error: /^Dockerfile:2:6: stage two stands after this one/,
  },
  {
    name: 'its own stage',
    dockerfile: 'FROM scratch AS one\nCOPY --from=one /a /',
    error: /^Dockerfile:2:6: stage one cannot take files from itself/,
  },
  {
    name: 'a stage number that is not there',
    dockerfile: 'FROM scratch\nCOPY --from=7 /a /',
    error: /^Dockerfile:2:6: there is no stage 7/,
  },
  {
    name: 'a misspelt stage',
    dockerfile: 'FROM scratch AS builder\nFROM scratch\nCOPY --from=biulder /a /',
    error: /^Dockerfile:3:6: /,
    hint: /the stage builder/,
  },
  { name: 'an image that is not there', dockerfile: 'FROM nowhere/nothing:1', error: /^Dockerfile:1:1: .*nowhere\/nothing/ },
  { name: 'a bad image name', dockerfile: 'FROM UPPER/case:x:y', error: /^Dockerfile:1:1: / },
  { name: 'another platform', dockerfile: 'FROM --platform=windows/amd64 base', error: /^Dockerfile:1:1: .*windows\/amd64/ },
  { name: "this host's platform", dockerfile: 'FROM --platform=$BUILDPLATFORM base', has: ['d tmp 1777 0:0'] },
  {
    name: 'ONBUILD is recorded, not run',
    dockerfile: 'FROM scratch\nONBUILD ENV a=$b\nONBUILD COPY --chown=1 x /',
    tree: [],
    config: { ...root, OnBuild: ['ENV a=$b', 'COPY --chown=1 x /'] },
    history: [],
  },
  {
    name: 'ONBUILD triggers of an image run',
    files: { extra: 'x' },
    dockerfile: 'FROM trigger\nENV after=$triggered',
    tree: ['f extra 644 0:0 "x"', 'f f 644 0:0 "from the image\\n"'],
    config: { Env: ['triggered=yes', 'after=yes'], Labels: { from: 'image' } },
  },
  {
    name: 'ONBUILD triggers of a stage run in its child only',
    dockerfile: 'FROM scratch AS one\nONBUILD ENV a=1\nFROM one AS two\nFROM two',
    config: { Env: ['a=1'], ...root },
  },
  { name: 'an error in a trigger shows the FROM', dockerfile: 'FROM trigger', error: /^Dockerfile:1:1: extra does not exist/ },
  {
    name: 'two stages of one name: the last before',
    files: { a: '1', b: '2' },
    dockerfile: 'FROM scratch AS s\nCOPY a /f\nFROM scratch AS s\nCOPY b /f\nFROM scratch\nCOPY --from=s /f /',
    tree: ['f f 644 0:0 "2"'],
  },
];
