// biome-ignore-all lint/suspicious/noTemplateCurlyInString: Dockerfile variables are the subject
import type { Case } from '../case.ts';

const root = { WorkingDir: '/' };
const files = { a: 'x', sub: 'y' };

/** What one trigger does in the child: the whole config, or files. */
const triggers: [trigger: string, effect: Partial<Case>][] = [
  ['ENV a=1', { config: { ...root, Env: ['a=1'] } }],
  ['LABEL a=1', { config: { ...root, Labels: { a: '1' } } }],
  ['USER me', { config: { ...root, User: 'me' } }],
  ['WORKDIR /w', { config: { WorkingDir: '/w' }, tree: ['d w 755 0:0'] }],
  ['EXPOSE 80', { config: { ...root, ExposedPorts: { '80/tcp': {} } } }],
  ['VOLUME /v', { config: { ...root, Volumes: { '/v': {} } } }],
  ['STOPSIGNAL SIGINT', { config: { ...root, StopSignal: 'SIGINT' } }],
  ['SHELL ["/x", "-c"]', { config: { ...root, Shell: ['/x', '-c'] } }],
  ['CMD ["a"]', { config: { ...root, Cmd: ['a'], ArgsEscaped: true } }],
  ['ENTRYPOINT ["a"]', { config: { ...root, Entrypoint: ['a'] } }],
  ['HEALTHCHECK NONE', { config: { ...root, Healthcheck: { Test: ['NONE'] } } }],
  ['COPY a /b', { tree: ['f b 644 0:0 "x"'] }],
  ['ADD --chown=1:2 a /b', { tree: ['f b 644 1:2 "x"'] }],
  ['copy ["a", "/b"]', { tree: ['f b 644 0:0 "x"'] }],
  ['ARG v=1', { config: root }],
];

export const onbuildCases: readonly Case[] = [
  ...triggers.map(
    ([trigger, effect]): Case => ({
      name: `ONBUILD ${trigger}`,
      files,
      dockerfile: `FROM scratch AS one\nONBUILD ${trigger}\nFROM one`,
      ...effect,
    }),
  ),
  {
    name: 'ONBUILD with a heredoc',
    dockerfile: 'FROM scratch AS one\nONBUILD COPY <<EOF /f\nhi\nEOF\nFROM one',
    tree: ['f f 644 0:0 "hi\\n"'],
  },
  {
    name: 'ONBUILD with two heredocs, in the image as written',
    dockerfile: 'FROM scratch\nONBUILD COPY <<a <<b /d/\n1\na\n2\nb\n',
    config: { ...root, OnBuild: ['COPY <<a <<b /d/\n1\na\n2\nb'] },
  },
  {
    name: 'ONBUILD COPY --from another stage',
    files,
    dockerfile: 'FROM scratch AS src\nCOPY a /a\nFROM scratch AS one\nONBUILD COPY --from=src /a /b\nFROM one',
    tree: ['f b 644 0:0 "x"'],
  },
  {
    name: 'ONBUILD COPY --from an image',
    dockerfile: 'FROM scratch AS one\nONBUILD COPY --from=base /etc/group /g\nFROM one',
    tree: ['f g 644 0:0 "root:x:0:\\nstaff:x:50:\\n"'],
  },
  {
    name: 'ONBUILD RUN with a mount',
    files,
    dockerfile: 'FROM base AS one\nONBUILD RUN --mount=target=/c cat /c/a > /o\nFROM one',
    has: ['f o 644 0:0 "x"'],
  },
  {
    name: 'ONBUILD variables are those of the child',
    dockerfile: 'FROM scratch AS one\nENV v=parent\nONBUILD LABEL l=$v-$w\nONBUILD ENV w=set\nONBUILD LABEL m=$w\nFROM one',
    config: { ...root, Env: ['v=parent', 'w=set'], Labels: { l: 'parent-', m: 'set' } },
  },
  {
    name: 'ONBUILD triggers come before what the child says',
    dockerfile: 'FROM scratch AS one\nONBUILD ENV a=1\nFROM one\nENV b=$a',
    config: { ...root, Env: ['a=1', 'b=1'] },
  },
  {
    name: 'ONBUILD in the order of the base',
    dockerfile: 'FROM scratch AS one\nONBUILD ENV a=1\nONBUILD ENV a=2\nFROM one',
    config: { ...root, Env: ['a=2'] },
    history: ['~ENV a=1', '~ENV a=2'],
  },
  {
    name: 'ONBUILD ONBUILD',
    dockerfile: 'FROM scratch\nONBUILD ONBUILD ENV a=1',
    error: /^Dockerfile:2:9: ONBUILD cannot be an ONBUILD trigger/,
  },
  { name: 'ONBUILD FROM', dockerfile: 'FROM scratch\nONBUILD FROM x', error: /FROM cannot be an ONBUILD trigger/ },
  { name: 'ONBUILD MAINTAINER', dockerfile: 'FROM scratch\nONBUILD MAINTAINER x', error: /MAINTAINER cannot be an ONBUILD trigger/ },
  { name: 'ONBUILD alone', dockerfile: 'FROM scratch\nONBUILD', error: /^Dockerfile:2:1: ONBUILD needs at least one argument/ },
];
