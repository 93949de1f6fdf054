import type { Files } from '../../support/builds.ts';
import type { Case } from '../case.ts';

const files: Files = {
  'd/': { mode: 0o750 },
  'd/run': { text: '1', mode: 0o744 },
  'd/plain': { text: '2', mode: 0o640 },
  'd/sub/': { mode: 0o700 },
  'd/link': { link: 'plain' },
};

/** `COPY --chmod=<mode> d /t/`: run, plain, sub. A link has no mode; a directory that is made is 0755 unless the mode is a number. */
const rows: [mode: string, run: string, plain: string, sub: string, made?: string][] = [
  ['u+x', '744', '740', '700'],
  ['+x', '755', '751', '711'],
  ['a+rX', '755', '644', '755'],
  ['go-rwx', '700', '600', '700'],
  ['u=rwX,go=rX', '755', '644', '755'],
  ['u=rw,go=r', '644', '644', '644'],
  ['a=', '0', '0', '0'],
  ['g=u', '774', '660', '770'],
  ['o+w,g+w', '766', '662', '722'],
  ['u+s', '4744', '4640', '4700'],
  ['0755', '755', '755', '755', '755'],
  ['700', '700', '700', '700', '700'],
  ['2755', '2755', '2755', '2755', '755'],
  ['0', '0', '0', '0', '0'],
];

export const modeCases: readonly Case[] = [
  ...rows.map(
    ([mode, run, plain, sub, made = '755']): Case => ({
      name: `--chmod=${mode}`,
      files,
      dockerfile: `FROM scratch\nCOPY --chmod=${mode} d /t/`,
      tree: [`d t ${made} 0:0`, 'l t/link 777 0:0 -> plain', `f t/plain ${plain} 0:0 "2"`, `f t/run ${run} 0:0 "1"`, `d t/sub ${sub} 0:0`],
      history: [`COPY --chmod=${mode} d /t/ # buildkit`],
    }),
  ),
  {
    name: '--chmod=u+x of one file leaves the others of its directory',
    files,
    dockerfile: 'FROM scratch AS one\nCOPY d /d\nFROM scratch\nCOPY --from=one --chmod=o+r /d/plain /a\nCOPY --from=one /d/plain /b',
    tree: ['f a 644 0:0 "2"', 'f b 640 0:0 "2"'],
  },
  {
    name: '--chmod in words with a variable',
    files,
    dockerfile: 'FROM scratch\nARG m=go-r\nCOPY --chmod=$m d/run /a',
    tree: ['f a 700 0:0 "1"'],
  },
  {
    name: '--chmod=u+q',
    files,
    dockerfile: 'FROM scratch\nCOPY --chmod=u+q d/run /a',
    error: /^Dockerfile:2:1: --chmod=u\+q is not a mode/,
  },
  { name: '--chmod=789', files, dockerfile: 'FROM scratch\nCOPY --chmod=789 d/run /a', error: /--chmod=789 is not a mode/ },
  { name: '--chmod=10000', files, dockerfile: 'FROM scratch\nCOPY --chmod=10000 d/run /a', error: /--chmod=10000 is not a mode/ },
  {
    name: '--chmod of a heredoc',
    dockerfile: 'FROM scratch\nCOPY --chmod=u=rwx,go=rx <<EOF /run.sh\n#!/bin/sh\nEOF',
    tree: ['f run.sh 755 0:0 "#!/bin/sh\\n"'],
  },
  { name: 'ADD --chmod', files, dockerfile: 'FROM scratch\nADD --chmod=a+x d/plain /x', tree: ['f x 751 0:0 "2"'] },
];
