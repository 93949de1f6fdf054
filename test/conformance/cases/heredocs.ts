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

  {
    name: 'quotes and backslashes in a body that is expanded',
    dockerfile:
      'FROM scratch\nCOPY <<EOF q\n"quotes in file"\nEOF\nCOPY <<EOF s1\n\\\nEOF\nCOPY <<EOF s2\n\\\\\nEOF\nCOPY <<EOF s3\n\\$\nEOF',
    tree: ['f q 644 0:0 "\\"quotes in file\\"\\n"', 'f s1 644 0:0 "\\n"', 'f s2 644 0:0 "\\\\\\n"', 'f s3 644 0:0 "$\\n"'],
  },
  {
    name: 'backslashes in a body that is not',
    dockerfile: 'FROM scratch\nCOPY <<"EOF" s1\n\\\nEOF\nCOPY <<"EOF" s2\n\\\\\nEOF\nCOPY <<"EOF" s3\n\\$\nEOF',
    tree: ['f s1 644 0:0 "\\\\\\n"', 'f s2 644 0:0 "\\\\\\\\\\n"', 'f s3 644 0:0 "\\\\$\\n"'],
  },
  {
    name: "the body of RUN goes to SHELL's own program",
    dockerfile:
      'FROM base\nSHELL ["/bin/busybox", "echo"]\nRUN <<EOF\nhello\nEOF\nSHELL ["/bin/sh", "-c"]\nRUN <<EOF\nx="a  b"\necho "$x" > /o\nEOF',
    has: ['f o 644 0:0 "a  b\\n"'],
  },
  {
    name: 'tabs stay without a dash',
    dockerfile: 'FROM base\nRUN <<EOF\necho "\n\tfoo" > /a\nEOF\nRUN <<-EOF\necho "\n\tbar" > /b\nEOF',
    has: ['f a 644 0:0 "\\n\\tfoo\\n"', 'f b 644 0:0 "\\nbar\\n"'],
  },
  {
    name: 'tabs in scripts with an interpreter',
    dockerfile: 'FROM base\nRUN <<EOF\n#!/bin/sh\necho "\n\tfoo" > /a\nEOF\nRUN <<-EOF\n\t#!/bin/sh\n\techo "\n\tbar" > /b\nEOF',
    has: ['f a 644 0:0 "\\n\\tfoo\\n"', 'f b 644 0:0 "\\nbar\\n"'],
  },
  {
    name: 'a command beside the heredoc reads it',
    dockerfile: 'FROM base\nRUN <<EOF sh > /a\necho "\n\tfoo"\nEOF\nRUN <<-EOF sh > /b\necho "\n\tbar"\nEOF',
    has: ['f a 644 0:0 "\\n\\tfoo\\n"', 'f b 644 0:0 "\\nbar\\n"'],
  },
  {
    name: 'heredocs of a continued command',
    dockerfile: 'FROM base\nRUN cat <<A | tr a-z A-Z > /a; \\\n\tcat <<B | tr A-Z a-z > /b\nhello WORLD\nA\nHELLO world\nB',
    has: ['f a 644 0:0 "HELLO WORLD\\n"', 'f b 644 0:0 "hello world\\n"'],
  },
  {
    name: 'heredocs on descriptors of their own',
    dockerfile: 'FROM base\nRUN 3<<X 4<<Y cat <&3 > /a && true\none\nX\ntwo\nY',
    has: ['f a 644 0:0 "one\\n"'],
  },
  {
    name: 'variables of the Dockerfile in a COPY, of all quotes',
    dockerfile:
      "FROM scratch\nARG name=world\nCOPY <<EOF c1\nHello ${name}!\nEOF\nCOPY <<'EOF' c2\nHello ${name}!\nEOF\nCOPY <<EOF q1\nHello '${name}'!\nEOF\nCOPY <<EOF q2\nHello \"${name}\"!\nEOF\nCOPY <<'EOF' q3\nHello \"${name}\"!\nEOF",
    tree: [
      'f c1 644 0:0 "Hello world!\\n"',
      'f c2 644 0:0 "Hello ${name}!\\n"',
      'f q1 644 0:0 "Hello \'world\'!\\n"',
      'f q2 644 0:0 "Hello \\"world\\"!\\n"',
      'f q3 644 0:0 "Hello \\"${name}\\"!\\n"',
    ],
  },
  {
    name: 'variables in a RUN are those of the shell',
    dockerfile:
      'FROM base\nARG name=world\nRUN <<EOF\nname="new world"\necho "Hello ${name}!" > /o\nEOF\nRUN <<EOF\necho "Hello ${name}!" > /p\nEOF',
    has: ['f o 644 0:0 "Hello new world!\\n"', 'f p 644 0:0 "Hello world!\\n"'],
  },
  {
    name: 'ONBUILD RUN of a heredoc',
    dockerfile: 'FROM base AS one\nONBUILD RUN <<EOF\necho "hello world" >> /dest\nEOF\nFROM one',
    has: ['f dest 644 0:0 "hello world\\n"'],
  },
  { name: 'exec form has no heredocs', dockerfile: 'FROM base\nRUN ["/bin/echo", "<<EOF"]' },
  {
    name: 'CRLF in a body stays',
    dockerfile: 'FROM scratch\r\nCOPY <<EOF /f\r\na\r\nb\r\nEOF\r\nENV x=1\r\n',
    tree: ['f f 644 0:0 "a\\r\\nb\\r\\n"'],
    config: { WorkingDir: '/', Env: ['x=1'] },
  },
  {
    name: 'an end mark with spaces is text',
    dockerfile: 'FROM scratch\nCOPY <<EOF /f\n EOF\nEOF \nEOF',
    tree: ['f f 644 0:0 " EOF\\nEOF \\n"'],
  },
  {
    name: 'names of instructions in a body are text',
    dockerfile: 'FROM scratch\nCOPY <<EOF /f\nFROM nowhere\nRUN rm -rf /\nEOF',
    tree: ['f f 644 0:0 "FROM nowhere\\nRUN rm -rf /\\n"'],
  },
  {
    name: 'a space after the mark makes it a path',
    dockerfile: 'FROM scratch\nCOPY << EOF /f\nx\nEOF',
    error: /^Dockerfile:2:6: << does not exist/,
  },
  {
    name: 'a variable in the destination',
    dockerfile: 'FROM scratch\nARG d=/x\nCOPY <<EOF $d/f\ny\nEOF',
    tree: ['d x 755 0:0', 'f x/f 644 0:0 "y\\n"'],
  },
];
