// biome-ignore-all lint/suspicious/noTemplateCurlyInString: Dockerfile variables are the subject
import type { Case } from '../case.ts';

export const heredocCases: readonly Case[] = [
  {
    name: 'COPY of a heredoc',
    dockerfile: 'FROM scratch\nCOPY <<EOF /d/f\nhello\nworld\nEOF',
    tree: ['d d 755 0:0', 'f d/f 644 0:0 "hello\\nworld\\n"'],
  },
  {
    name: 'into a directory it has its own name',
    dockerfile: 'FROM scratch\nCOPY <<file.txt /d/\nhello\nfile.txt',
    tree: ['d d 755 0:0', 'f d/file.txt 644 0:0 "hello\\n"'],
  },
  {
    name: 'several',
    files: { c: 'z' },
    dockerfile: 'FROM scratch\nCOPY <<a c <<b /d/\none\na\ntwo\nb',
    tree: ['d d 755 0:0', 'f d/a 644 0:0 "one\\n"', 'f d/b 644 0:0 "two\\n"', 'f d/c 644 0:0 "z"'],
  },
  {
    name: 'variables are replaced, quotes stay',
    dockerfile: "FROM scratch\nARG v=x\nCOPY <<EOF /f\n$v \"${v}\" '$v' \\$v it's\nEOF",
    tree: ['f f 644 0:0 "x \\"x\\" \'x\' $v it\'s\\n"'],
  },
  { name: 'a quoted word keeps variables', dockerfile: 'FROM scratch\nARG v=x\nCOPY <<"EOF" /f\n$v\nEOF', tree: ['f f 644 0:0 "$v\\n"'] },
  {
    name: 'a dash takes leading tabs away',
    dockerfile: 'FROM scratch\nCOPY <<-EOF /f\n\ta\n\t\tb\n c\n\tEOF',
    tree: ['f f 644 0:0 "a\\nb\\n c\\n"'],
  },
  { name: 'with owner and mode', dockerfile: 'FROM scratch\nCOPY --chown=1:2 --chmod=755 <<EOF /f\nx\nEOF', tree: ['f f 755 1:2 "x\\n"'] },
  { name: 'empty', dockerfile: 'FROM scratch\nCOPY <<EOF /f\nEOF', tree: ['f f 644 0:0 ""'] },
  {
    name: 'comments and continuations in it are text',
    dockerfile: 'FROM scratch\nCOPY <<EOF /f\n# a\nb \\\\\nc\nEOF',
    tree: ['f f 644 0:0 "# a\\nb \\\\\\nc\\n"'],
  },
  { name: 'ADD of a heredoc', dockerfile: 'FROM scratch\nADD <<EOF /f\nx\nEOF', tree: ['f f 644 0:0 "x\\n"'] },
  { name: 'history', dockerfile: 'FROM scratch\nCOPY <<EOF /f\nx\nEOF', history: ['COPY <<EOF /f # buildkit'] },
  { name: 'RUN of a heredoc', dockerfile: 'FROM base\nRUN <<EOF\necho one > /o\necho two >> /o\nEOF', has: ['f o 644 0:0 "one\\ntwo\\n"'] },
  { name: 'RUN leaves variables to the shell', dockerfile: 'FROM base\nRUN <<EOF\nx=1\necho $x > /o\nEOF', has: ['f o 644 0:0 "1\\n"'] },
  { name: 'RUN with a redirected heredoc', dockerfile: 'FROM base\nRUN cat <<EOF > /o\nhello\nEOF', has: ['f o 644 0:0 "hello\\n"'] },
  {
    name: 'RUN with two heredocs',
    dockerfile: 'FROM base\nRUN cat <<A > /a && cat <<B > /b\n1\nA\n2\nB',
    has: ['f a 644 0:0 "1\\n"', 'f b 644 0:0 "2\\n"'],
  },
  {
    name: 'RUN whose script has an interpreter',
    dockerfile: 'FROM base\nRUN <<EOF\n#!/bin/busybox sh\necho script > /o\nEOF',
    has: ['f o 644 0:0 "script\\n"'],
    lacks: ['dev/pipes', 'dev/pipes/EOF'],
  },
  { name: 'not ended', dockerfile: 'FROM base\nRUN <<EOF\necho x\n', error: /^Dockerfile:2:5: .*not ended/ },
];
