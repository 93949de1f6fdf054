// biome-ignore-all lint/suspicious/noTemplateCurlyInString: Dockerfile variables are the subject
import type { Case } from '../case.ts';

const secrets = { pw: 'hunter2', 'a.b': 'dots' };

export const mountCases: readonly Case[] = [
  {
    name: 'a secret is a file in /run/secrets, read by its owner only',
    secrets,
    dockerfile: "FROM base\nRUN --mount=type=secret,id=pw stat -c '%u %g %f %s' /run/secrets/pw > /o",
    has: ['f o 644 0:0 "0 0 8100 7\\n"'],
    lacks: ['run/secrets/pw', 'run/secrets', 'run'],
  },
  {
    name: 'a secret with mode, uid and gid',
    secrets,
    dockerfile: "FROM base\nRUN --mount=type=secret,required=false,mode=741,uid=100,gid=102,id=pw,target=/s stat -c '%u %g %f' /s > /o",
    has: ['f o 644 0:0 "100 102 81e1\\n"'],
    lacks: ['s'],
  },
  {
    name: 'a secret names itself by its target',
    secrets,
    dockerfile: 'FROM base\nRUN --mount=type=secret,target=/x/pw test -s /x/pw',
    lacks: ['x', 'x/pw'],
  },
  {
    name: 'a secret with a relative target',
    secrets,
    dockerfile: 'FROM base\nWORKDIR /w\nRUN --mount=type=secret,id=pw,target=s test -s /w/s',
    lacks: ['w/s'],
  },
  { name: 'source is another word for id', secrets, dockerfile: 'FROM base\nRUN --mount=type=secret,source=a.b test -s /run/secrets/a.b' },
  {
    name: 'a secret as a variable wins over ENV, and is no file',
    secrets,
    dockerfile:
      'FROM base\nENV S=foo\nRUN --mount=type=secret,id=pw,env=S test "$S" = hunter2 && test ! -e /run/secrets/pw && echo ok > /o\nRUN echo $S > /p',
    has: ['f o 644 0:0 "ok\\n"', 'f p 644 0:0 "foo\\n"'],
  },
  {
    name: 'a secret as variable and file',
    secrets,
    dockerfile: 'FROM base\nRUN --mount=type=secret,id=pw,env=S,target=/s test "$S" = "$(cat /s)"',
    lacks: ['s'],
  },
  { name: 'a secret that is not there is no file', dockerfile: 'FROM base\nRUN --mount=type=secret,id=none test ! -e /run/secrets/none' },
  {
    name: 'a required secret',
    dockerfile: 'FROM base\nRUN --mount=type=secret,required,id=none true',
    error: /^Dockerfile:2:5: the secret none is required and was not given/,
    hint: /--secret id=none/,
  },
  {
    name: 'a secret is read-only',
    secrets,
    dockerfile: 'FROM base\nRUN --mount=type=secret,id=pw,mode=0666 echo x > /run/secrets/pw',
    error: /ended with exit code 1/,
  },
  {
    name: 'a secret from a stage',
    dockerfile: 'FROM base\nRUN --mount=type=secret,id=x,from=base true',
    error: /from does not belong to a secret/,
  },
  {
    name: 'a secret without a name',
    dockerfile: 'FROM base\nRUN --mount=type=secret true',
    error: /a secret mount needs an id or a target/,
  },
  {
    name: 'a secret with two names',
    dockerfile: 'FROM base\nRUN --mount=type=secret,id=a,source=b true',
    error: /source and id of a secret/,
  },
  {
    name: 'a secret with sharing',
    dockerfile: 'FROM base\nRUN --mount=type=secret,id=a,sharing=locked true',
    error: /sharing does not belong/,
  },
  { name: 'an ssh agent that is not there', dockerfile: 'FROM base\nRUN --mount=type=ssh test ! -e "$SSH_AUTH_SOCK"' },
  {
    name: 'an ssh mount says where its socket is',
    dockerfile: 'FROM base\nRUN --mount=type=ssh --mount=type=ssh,id=two echo $SSH_AUTH_SOCK > /o',
    has: ['f o 644 0:0 "/run/buildkit/ssh_agent.0\\n"'],
  },
  {
    name: 'an ssh mount leaves a variable of the Dockerfile',
    dockerfile: 'FROM base\nENV SSH_AUTH_SOCK=/x\nRUN --mount=type=ssh,target=/y echo $SSH_AUTH_SOCK > /o',
    has: ['f o 644 0:0 "/x\\n"'],
  },
  {
    name: 'a required ssh agent',
    dockerfile: 'FROM base\nRUN --mount=type=ssh,required=true true',
    error: /^Dockerfile:2:5: the ssh agent default is required and was not given/,
  },
  {
    name: 'an ssh mount with a source',
    dockerfile: 'FROM base\nRUN --mount=type=ssh,source=x true',
    error: /source does not belong to an ssh mount/,
  },
  {
    name: 'a tmpfs is empty, writable and gone',
    dockerfile: 'FROM base\nRUN --mount=type=tmpfs,target=/t touch /t/x && ls /t > /o && stat -c %a /t >> /o',
    has: ['f o 644 0:0 "x\\n1777\\n"'],
    lacks: ['t', 't/x'],
  },
  {
    name: 'a tmpfs covers what is there',
    files: { a: 'x' },
    dockerfile: 'FROM base\nCOPY a /d/a\nRUN --mount=type=tmpfs,target=/d ls /d > /o',
    has: ['f o 644 0:0 ""', 'f d/a 644 0:0 "x"'],
  },
  {
    name: 'a tmpfs has its size',
    dockerfile: 'FROM base\nRUN --mount=type=tmpfs,target=/t,size=64k head -c 100000 /bin/busybox > /t/x',
    error: /ended with exit code 1/,
  },
  {
    name: 'a cache is kept from step to step and not in the image',
    dockerfile:
      'FROM base\nRUN --mount=type=cache,target=/c,id=keep echo 1 > /c/x\nRUN --mount=type=cache,target=/other,id=keep cat /other/x > /o',
    has: ['f o 644 0:0 "1\\n"'],
    lacks: ['c', 'c/x', 'other'],
  },
  {
    name: 'a cache is named by its target',
    dockerfile:
      'FROM base\nRUN --mount=type=cache,target=/named/ echo 2 > /named/x\nRUN --mount=type=cache,target=/named cat /named/x > /o',
    has: ['f o 644 0:0 "2\\n"'],
  },
  {
    name: 'a cache with mode, uid and gid',
    dockerfile: "FROM base\nRUN --mount=type=cache,target=/c,id=owned,mode=0700,uid=7,gid=8 stat -c '%a %u %g' /c > /o",
    has: ['f o 644 0:0 "700 7 8\\n"'],
  },
  {
    name: 'a cache is 0755 of root',
    dockerfile: "FROM base\nRUN --mount=type=cache,target=/c,id=plain stat -c '%a %u %g' /c > /o",
    has: ['f o 644 0:0 "755 0 0\\n"'],
  },
  {
    name: 'a read-only cache',
    dockerfile: 'FROM base\nRUN --mount=type=cache,target=/c,id=ro,ro touch /c/x',
    error: /ended with exit code 1/,
  },
  {
    name: 'a cache begins with what a stage has',
    files: { 'd/a': 'x', 'd/sub/b': 'y' },
    dockerfile:
      'FROM scratch AS seed\nCOPY d /seed\nFROM base\nRUN --mount=type=cache,target=/c,id=seeded,from=seed,source=/seed cat /c/a /c/sub/b > /o && echo z > /c/a\nRUN --mount=type=cache,target=/c,id=seeded,from=seed,source=/seed cat /c/a > /p',
    has: ['f o 644 0:0 "xy"', 'f p 644 0:0 "z\\n"'],
  },
  {
    name: 'a cache of another namespace is another cache',
    request: { buildArgs: { BUILDKIT_CACHE_MOUNT_NS: 'other' } },
    dockerfile: 'FROM base\nRUN --mount=type=cache,target=/c,id=keep ls /c > /o',
    has: ['f o 644 0:0 ""'],
  },
  {
    name: 'writes to a writable bind mount are thrown away',
    files: { a: 'x' },
    dockerfile: 'FROM base\nRUN --mount=target=/c,rw echo y > /c/a && cat /c/a > /o\nRUN --mount=target=/c cat /c/a > /p',
    has: ['f o 644 0:0 "y\\n"', 'f p 644 0:0 "x"'],
  },
  {
    name: 'a bind mount of one file',
    files: { a: 'x' },
    dockerfile: 'FROM base\nRUN --mount=source=a,target=/f cat /f > /o',
    has: ['f o 644 0:0 "x"'],
    lacks: ['f'],
  },
  {
    name: 'a bind mount from an image',
    dockerfile: 'FROM base\nRUN --mount=from=trigger,target=/t cat /t/f > /o',
    has: ['f o 644 0:0 "from the image\\n"'],
  },
  {
    name: 'variables in mount options',
    files: { a: 'x' },
    dockerfile: 'FROM base\nARG s=a t=/f\nRUN --mount=type=bind,source=$s,target=${t} cat /f > /o',
    has: ['f o 644 0:0 "x"'],
  },
  { name: 'no variables in from', dockerfile: 'FROM base\nARG s=x\nRUN --mount=from=$s,target=/t true', error: /from takes no variables/ },
  {
    name: 'mode of a bind mount',
    dockerfile: 'FROM base\nRUN --mount=target=/t,mode=0700 true',
    error: /mode does not belong to a bind mount/,
  },
  {
    name: 'uid of a tmpfs',
    dockerfile: 'FROM base\nRUN --mount=type=tmpfs,target=/t,uid=3 true',
    error: /uid does not belong to a tmpfs mount/,
  },
  { name: 'a mode that is none', dockerfile: 'FROM base\nRUN --mount=type=cache,target=/t,mode=rwx true', error: /"rwx" is not a mode/ },
  { name: 'a size that is none', dockerfile: 'FROM base\nRUN --mount=type=tmpfs,target=/t,size=big true', error: /"big" is not a size/ },
  {
    name: 'sharing that is none',
    dockerfile: 'FROM base\nRUN --mount=type=cache,target=/t,sharing=lockd true',
    error: /sharing is one of shared, private, locked/,
    hint: /locked/,
  },
  { name: 'ro that is no boolean', dockerfile: 'FROM base\nRUN --mount=target=/t,ro=maybe true', error: /readonly takes true or false/ },
  { name: 'a value is needed', dockerfile: 'FROM base\nRUN --mount=type=cache,target true', error: /target needs a value/ },
  { name: '--network that is none', dockerfile: 'FROM base\nRUN --network=bridge true', error: /--network is one of default, none, host/ },
  { name: '--security that is none', dockerfile: 'FROM base\nRUN --security=none true', error: /--security is one of sandbox, insecure/ },
  {
    name: '--device',
    dockerfile: 'FROM base\nRUN --device=vendor.com/device=foo true',
    error: /^Dockerfile:2:1: device is not allowed/,
  },
];
