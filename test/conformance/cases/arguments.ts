// biome-ignore-all lint/suspicious/noTemplateCurlyInString: Dockerfile variables are the subject
import type { Case } from '../case.ts';

const workingDir = { WorkingDir: '/' };

export const argumentCases: readonly Case[] = [
  {
    name: 'ENV and its use',
    dockerfile: 'FROM scratch\nENV a=1 b="2 3"\nENV c=$a-${b}',
    config: { Env: ['a=1', 'b=2 3', 'c=1-2 3'], ...workingDir },
  },
  {
    name: 'values are fixed while an instruction runs',
    dockerfile: 'FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc',
    config: { Env: ['abc=bye', 'def=hello', 'ghi=bye'], ...workingDir },
  },
  { name: 'the old form of ENV', dockerfile: 'FROM scratch\nENV a b  c', config: { Env: ['a=b  c'], ...workingDir } },
  {
    name: 'quotes and escapes',
    dockerfile: 'FROM scratch\nENV a=\'$x\' b=\\$x c="d\\"e" f=g\\ h',
    config: { Env: ['a=$x', 'b=$x', 'c=d"e', 'f=g h'], ...workingDir },
  },
  {
    name: 'defaults and replacements',
    dockerfile: 'FROM scratch\nENV v=1.2.3\nENV a=${x:-d} b=${v%.*} c=${v##*.} d=${v/./_} e=${v//./_} f=${v:+set}',
    config: { Env: ['v=1.2.3', 'a=d', 'b=1.2', 'c=3', 'd=1_2.3', 'e=1_2_3', 'f=set'], ...workingDir },
  },
  {
    name: 'a required variable',
    dockerfile: 'FROM scratch\nENV a="${must:?has to be set}"',
    error: /^Dockerfile:2:1: .*must: has to be set/,
  },
  { name: 'a bad substitution', dockerfile: 'FROM scratch\nENV a=${b', error: /^Dockerfile:2:1: .*missing '}'/ },
  {
    name: 'an unset variable is empty and warned of',
    dockerfile: 'FROM scratch\nENV version=1\nENV a=x${verison}',
    config: { Env: ['version=1', 'a=x'], ...workingDir },
    warning: /UndefinedVar: Usage of undefined variable '\$verison' \(did you mean \$version\?\)/,
  },
  { name: 'ARG with a default', dockerfile: 'FROM scratch\nARG a=1\nENV b=$a', config: { Env: ['b=1'], ...workingDir } },
  {
    name: 'ARG from the command line',
    dockerfile: 'FROM scratch\nARG a=1\nENV b=$a',
    request: { buildArgs: { a: '2' } },
    config: { Env: ['b=2'], ...workingDir },
  },
  { name: 'ARG without a value', dockerfile: 'FROM scratch\nARG a\nENV b=x$a', config: { Env: ['b=x'], ...workingDir } },
  {
    name: 'several ARGs see the ones before',
    dockerfile: 'FROM scratch\nARG a=1 b=$a c\nENV d=$a$b',
    config: { Env: ['d=11'], ...workingDir },
  },
  { name: 'ARG is not in the image', dockerfile: 'FROM scratch\nARG a=1', config: workingDir },
  { name: 'ARG before its line is unset', dockerfile: 'FROM scratch\nENV b=x$a\nARG a=1', config: { Env: ['b=x'], ...workingDir } },
  {
    name: 'a global ARG chooses the base',
    dockerfile: 'ARG from=base\nFROM ${from}',
    has: ['f etc/group 644 0:0 "root:x:0:\\nstaff:x:50:\\n"'],
  },
  {
    name: 'a global ARG has to be declared again',
    dockerfile: 'ARG a=1\nFROM scratch\nENV b=x$a\nARG a\nENV c=x$a',
    config: { Env: ['b=x', 'c=x1'], ...workingDir },
  },
  {
    name: 'a global ARG with another default in the stage',
    dockerfile: 'ARG a=1\nFROM scratch\nARG a=2\nENV c=$a',
    config: { Env: ['c=2'], ...workingDir },
  },
  { name: 'a global ARG sees the one before', dockerfile: 'ARG a=ba\nARG b=${a}se\nFROM $b', has: ['d tmp 1777 0:0'] },
  {
    name: 'a global ARG from the command line',
    dockerfile: 'ARG a=nothing\nFROM $a',
    request: { buildArgs: { a: 'base' } },
    has: ['d tmp 1777 0:0'],
  },
  { name: 'FROM with an empty variable', dockerfile: 'ARG a\nFROM $a', error: /^Dockerfile:2:1: FROM \$a names no image/ },
  {
    name: 'a stage inherits the variables of its base stage',
    dockerfile: 'FROM scratch AS one\nARG a=1\nENV b=2\nFROM one\nENV c=$a$b',
    config: { Env: ['b=2', 'c=12'], ...workingDir },
  },
  {
    name: 'predefined platform arguments',
    dockerfile: 'FROM scratch\nARG TARGETOS\nARG BUILDOS\nENV a=$TARGETOS/$BUILDOS',
    config: { Env: ['a=linux/linux'], ...workingDir },
  },
  {
    name: 'the target stage is an argument',
    dockerfile: 'FROM scratch AS one\nARG TARGETSTAGE\nENV a=$TARGETSTAGE',
    config: { Env: ['a=one'], ...workingDir },
  },
  { name: 'variables in COPY', files: { x: '1' }, dockerfile: 'FROM scratch\nARG from=x to=/y\nCOPY $from $to', tree: ['f y 644 0:0 "1"'] },
  { name: 'an escaped variable in COPY', files: { $x: '1' }, dockerfile: 'FROM scratch\nCOPY \\$x /y', tree: ['f y 644 0:0 "1"'] },
  {
    name: 'variables in WORKDIR, USER, EXPOSE, VOLUME, LABEL, STOPSIGNAL',
    dockerfile:
      'FROM scratch\nARG w=/w u=me p="80 90" v=/v l=x s=SIGINT\nWORKDIR $w\nUSER $u\nEXPOSE $p\nVOLUME $v\nLABEL $l=$l\nSTOPSIGNAL $s',
    config: {
      WorkingDir: '/w',
      User: 'me',
      ExposedPorts: { '80/tcp': {}, '90/tcp': {} },
      Volumes: { '/v': {} },
      Labels: { x: 'x' },
      StopSignal: 'SIGINT',
    },
  },
  {
    name: 'no variables in CMD and ENTRYPOINT',
    dockerfile: 'FROM scratch\nENV a=1\nENTRYPOINT ["$a"]\nCMD ["$a"]',
    config: { Env: ['a=1'], ...workingDir, Entrypoint: ['$a'], Cmd: ['$a'], ArgsEscaped: true },
  },
  {
    name: 'an argument that nothing takes',
    dockerfile: 'FROM scratch',
    request: { buildArgs: { nobody: '1' } },
    config: workingDir,
    warning: /no ARG takes the build argument nobody/,
  },
  { name: 'RUN sees ARG and ENV', dockerfile: 'FROM base\nARG a=1\nENV b=2\nRUN echo $a$b > /o', has: ['f o 644 0:0 "12\\n"'] },
  {
    name: 'RUN sees proxies without ARG',
    dockerfile: 'FROM base\nRUN echo $HTTP_PROXY $http_proxy > /o',
    request: { buildArgs: { HTTP_PROXY: 'http://p' } },
    has: ['f o 644 0:0 "http://p http://p\\n"'],
  },
  {
    name: 'no variables in --from',
    files: { a: 'x' },
    dockerfile: 'FROM scratch AS one\nCOPY a /\nFROM scratch\nARG s=one\nCOPY --from=$s /a /',
    error: /^Dockerfile:5:6: --from takes no variables/,
  },
  {
    name: 'the escape directive',
    dockerfile: '# escape=`\nFROM scratch\nENV a=C:\\x b=`$y',
    config: { Env: ['a=C:\\x', 'b=$y'], ...workingDir },
  },
];
