import type { Case } from '../case.ts';

const root = { WorkingDir: '/' };
const sh = ['/bin/sh', '-c'];

export const configCases: readonly Case[] = [
  { name: 'nothing', dockerfile: 'FROM scratch', tree: [], config: root, history: [] },
  {
    name: 'CMD in exec form',
    dockerfile: 'FROM scratch\nCMD ["a", "b c"]',
    config: { ...root, Cmd: ['a', 'b c'], ArgsEscaped: true },
    history: ['~CMD ["a" "b c"]'],
  },
  {
    name: 'CMD in shell form',
    dockerfile: 'FROM scratch\nCMD a "b c"',
    config: { ...root, Cmd: [...sh, 'a "b c"'], ArgsEscaped: true },
    history: ['~CMD ["/bin/sh" "-c" "a \\"b c\\""]'],
  },
  { name: 'the last CMD counts', dockerfile: 'FROM scratch\nCMD ["a"]\nCMD ["b"]', config: { ...root, Cmd: ['b'], ArgsEscaped: true } },
  {
    name: 'ENTRYPOINT leaves a CMD of its stage',
    dockerfile: 'FROM scratch\nCMD ["a"]\nENTRYPOINT ["e"]',
    config: { ...root, Cmd: ['a'], ArgsEscaped: true, Entrypoint: ['e'] },
  },
  {
    name: 'ENTRYPOINT resets an inherited CMD',
    dockerfile: 'FROM scratch AS one\nCMD ["a"]\nFROM one\nENTRYPOINT ["e"]',
    config: { ...root, ArgsEscaped: true, Entrypoint: ['e'] },
  },
  {
    name: 'CMD leaves an inherited ENTRYPOINT',
    dockerfile: 'FROM scratch AS one\nENTRYPOINT ["e"]\nFROM one\nCMD ["a"]',
    config: { ...root, Entrypoint: ['e'], Cmd: ['a'], ArgsEscaped: true },
  },
  {
    name: 'SHELL holds for what follows',
    dockerfile: 'FROM scratch\nSHELL ["/bin/bash", "-ec"]\nCMD a\nENTRYPOINT b',
    config: {
      ...root,
      Shell: ['/bin/bash', '-ec'],
      Cmd: ['/bin/bash', '-ec', 'a'],
      ArgsEscaped: true,
      Entrypoint: ['/bin/bash', '-ec', 'b'],
    },
    history: ['~SHELL [/bin/bash -ec]', '~CMD ["/bin/bash" "-ec" "a"]', '~ENTRYPOINT ["/bin/bash" "-ec" "b"]'],
  },
  {
    name: 'EXPOSE',
    dockerfile: 'FROM scratch\nEXPOSE 80 53/udp 8000-8002/TCP',
    config: { ...root, ExposedPorts: { '53/udp': {}, '80/tcp': {}, '8000/tcp': {}, '8001/tcp': {}, '8002/tcp': {} } },
    history: ['~EXPOSE [53/udp 80/tcp 8000/tcp 8001/tcp 8002/tcp]'],
  },
  { name: 'EXPOSE of nonsense', dockerfile: 'FROM scratch\nEXPOSE http', error: /^Dockerfile:2:1: http is not a port/ },
  { name: 'EXPOSE of a port too large', dockerfile: 'FROM scratch\nEXPOSE 65536', error: /65536 is not a port/ },
  { name: 'EXPOSE of an unknown protocol', dockerfile: 'FROM scratch\nEXPOSE 80/icmp', error: /tcp, udp or sctp/ },
  {
    name: 'VOLUME',
    dockerfile: 'FROM scratch\nVOLUME /a /b\nVOLUME ["/c d"]',
    config: { ...root, Volumes: { '/a': {}, '/b': {}, '/c d': {} } },
    history: ['~VOLUME [/a /b]', '~VOLUME [/c d]'],
  },
  {
    name: 'LABEL',
    dockerfile: 'FROM scratch\nLABEL a=1 "b c"="d e"\nLABEL a=2',
    config: { ...root, Labels: { a: '2', 'b c': 'd e' } },
    history: ['~LABEL a=1 b c=d e', '~LABEL a=2'],
  },
  {
    name: 'labels of the command line win',
    dockerfile: 'FROM scratch\nLABEL a=1 b=2',
    request: { labels: { a: '9', c: '3' } },
    config: { ...root, Labels: { a: '9', b: '2', c: '3' } },
  },
  { name: 'USER', dockerfile: 'FROM scratch\nUSER app:staff', config: { ...root, User: 'app:staff' }, history: ['~USER app:staff'] },
  {
    name: 'STOPSIGNAL',
    dockerfile: 'FROM scratch\nSTOPSIGNAL SIGQUIT',
    config: { ...root, StopSignal: 'SIGQUIT' },
    history: ['~STOPSIGNAL SIGQUIT'],
  },
  { name: 'STOPSIGNAL by number', dockerfile: 'FROM scratch\nSTOPSIGNAL 9', config: { ...root, StopSignal: '9' } },
  { name: 'STOPSIGNAL that is none', dockerfile: 'FROM scratch\nSTOPSIGNAL SIGNOPE', error: /^Dockerfile:2:1: "SIGNOPE" is not a signal/ },
  {
    name: 'HEALTHCHECK',
    dockerfile: 'FROM scratch\nHEALTHCHECK --interval=1m30s --timeout=2s --retries=4 CMD curl x',
    config: { ...root, Healthcheck: { Test: ['CMD-SHELL', 'curl x'], Interval: 90e9, Timeout: 2e9, Retries: 4 } },
    history: ['~HEALTHCHECK {Test:[CMD-SHELL curl x] Interval:1m30s Timeout:2s StartPeriod:0s StartInterval:0s Retries:4}'],
  },
  { name: 'HEALTHCHECK NONE', dockerfile: 'FROM scratch\nHEALTHCHECK NONE', config: { ...root, Healthcheck: { Test: ['NONE'] } } },
  {
    name: 'ENV history',
    dockerfile: 'FROM scratch\nENV a=1 b="2 3"',
    history: ['~ENV a=1 b=2 3'],
    config: { Env: ['a=1', 'b=2 3'], ...root },
  },
  {
    name: 'ENV of the same name stays in its place',
    dockerfile: 'FROM scratch\nENV a=1\nENV b=2\nENV a=3',
    config: { Env: ['a=3', 'b=2'], ...root },
  },
  { name: 'ARG history', dockerfile: 'FROM scratch\nARG a=1\nARG b', history: ['~ARG a=1', '~ARG b'] },
  { name: 'MAINTAINER', dockerfile: 'FROM scratch\nMAINTAINER Me <me@x>', history: ['~MAINTAINER Me <me@x>'], config: root },
  {
    name: 'WORKDIR',
    dockerfile: 'FROM scratch\nWORKDIR /a\nWORKDIR b/c\nWORKDIR ../d',
    tree: ['d a 755 0:0', 'd a/b 755 0:0', 'd a/b/c 755 0:0', 'd a/b/d 755 0:0'],
    config: { WorkingDir: '/a/b/d' },
    history: ['WORKDIR /a', 'WORKDIR /a/b/c', 'WORKDIR /a/b/d'],
  },
  { name: 'WORKDIR of the root makes nothing', dockerfile: 'FROM scratch\nWORKDIR /', tree: [], config: root, history: ['~WORKDIR /'] },
  { name: 'WORKDIR with a final slash', dockerfile: 'FROM scratch\nWORKDIR /a/', config: { WorkingDir: '/a' } },
  {
    name: 'WORKDIR belongs to the user',
    dockerfile: 'FROM base\nUSER app\nWORKDIR /home/app',
    has: ['d home 755 1000:1001', 'd home/app 755 1000:1001'],
  },
  { name: 'WORKDIR leaves a directory that exists', dockerfile: 'FROM base\nUSER app\nWORKDIR /tmp', has: ['d tmp 1777 0:0'] },
  {
    name: 'WORKDIR through a symlink',
    files: { 'd/real/': {}, 'd/l': { link: 'real' } },
    dockerfile: 'FROM scratch\nCOPY d /\nWORKDIR /l/x',
    tree: ['l l 777 0:0 -> real', 'd real 755 0:0', 'd real/x 755 0:0'],
    config: { WorkingDir: '/l/x' },
  },
  {
    name: 'WORKDIR on a file',
    files: { f: 'x' },
    dockerfile: 'FROM scratch\nCOPY f /\nWORKDIR /f',
    error: /^Dockerfile:3:1: .*not a directory/,
  },
  {
    name: 'history of files',
    files: { a: 'x' },
    dockerfile: 'FROM base\nARG v=1\nCOPY --chown=1:2 a /b\nRUN true\nRUN ["true"]',
    history: ['~ARG v=1', 'COPY --chown=1:2 a /b # buildkit', 'RUN |1 v=1 /bin/sh -c true # buildkit', 'RUN |1 v=1 true # buildkit'],
  },
  {
    name: 'a config of the base is kept',
    dockerfile: 'FROM trigger AS t\nFROM scratch\nLABEL a=b',
    config: { ...root, Labels: { a: 'b' } },
  },
];
