// biome-ignore-all lint/suspicious/noTemplateCurlyInString: Dockerfile variables are the subject
import type { Case } from '../case.ts';

const a = { a: 'x' };

/** BuildKit's checks: the words, the lines, and when there is nothing to say. */
const rows: [name: string, dockerfile: string, warnings: string[], more?: Partial<Case>][] = [
  ['a clean file', 'FROM scratch\nCOPY a /', []],
  ['StageNameCasing', 'FROM scratch AS BadStageName', ["StageNameCasing: Stage name 'BadStageName' should be lowercase (1)"]],
  ['FromAsCasing, lower in upper', 'FROM scratch as one', ["FromAsCasing: 'as' and 'FROM' keywords' casing do not match (1)"]],
  ['FromAsCasing, upper in lower', 'from scratch AS one', ["FromAsCasing: 'AS' and 'from' keywords' casing do not match (1)"]],
  ['FromAsCasing, both lower', 'from scratch as one', []],
  [
    'FromAsCasing is silent where the keyword is mixed',
    'From scratch as one\nFROM scratch',
    ["ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase) (1)"],
  ],
  ['NoEmptyContinuation', 'FROM scratch\nCOPY a \\\n\n /\n', ['NoEmptyContinuation: Empty continuation line (4)']],
  ['NoEmptyContinuation, a comment is none', 'FROM scratch\nCOPY a \\\n# why\n /\n', []],
  [
    'ConsistentInstructionCasing, most are upper',
    'FROM scratch\ncopy a /\nCOPY a /b',
    ["ConsistentInstructionCasing: Command 'copy' should match the case of the command majority (uppercase) (2)"],
  ],
  [
    'ConsistentInstructionCasing, most are lower',
    'from scratch\nCOPY a /\ncopy a /b',
    ["ConsistentInstructionCasing: Command 'COPY' should match the case of the command majority (lowercase) (2)"],
  ],
  [
    'ConsistentInstructionCasing, as many of each',
    'from scratch\nCOPY a /',
    ["ConsistentInstructionCasing: Command 'from' should match the case of the command majority (uppercase) (1)"],
  ],
  [
    'ConsistentInstructionCasing, mixed letters',
    'FROM scratch\nCopy a /',
    ["ConsistentInstructionCasing: Command 'Copy' should match the case of the command majority (uppercase) (2)"],
  ],
  ['ConsistentInstructionCasing, all lower', 'from scratch\ncopy a /', []],
  [
    'DuplicateStageName',
    'FROM scratch AS b\nFROM scratch AS b',
    ['DuplicateStageName: Duplicate stage name "b", stage names should be unique (2)'],
  ],
  [
    'DuplicateStageName in other letters',
    'FROM scratch AS b\nFROM scratch AS B',
    [
      'DuplicateStageName: Duplicate stage name "b", stage names should be unique (2)',
      "StageNameCasing: Stage name 'B' should be lowercase (2)",
    ],
  ],
  [
    'ReservedStageName',
    'FROM scratch AS scratch\nFROM scratch AS context',
    [
      'ReservedStageName: Stage name should not use the same name as reserved stage "scratch" (1)',
      'ReservedStageName: Stage name should not use the same name as reserved stage "context" (2)',
    ],
  ],
  [
    'JSONArgsRecommended for CMD',
    'FROM scratch\nCMD mycommand',
    ['JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (2)'],
  ],
  [
    'JSONArgsRecommended for ENTRYPOINT',
    'FROM scratch\nENTRYPOINT mycommand',
    ['JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals (2)'],
  ],
  ['JSONArgsRecommended, not after SHELL', 'FROM scratch\nSHELL ["/bin/x"]\nCMD mycommand', []],
  ['JSONArgsRecommended, not after SHELL of the base stage', 'FROM scratch AS base\nSHELL ["/bin/x"]\nFROM base\nENTRYPOINT go', []],
  ['JSONArgsRecommended, not for RUN', 'FROM base\nRUN true', []],
  [
    'MaintainerDeprecated',
    'FROM scratch\nMAINTAINER me@example.org',
    ['MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (2)'],
  ],
  ['UndefinedArgInFrom, declared', 'ARG base=scratch\nFROM $base', []],
  ['UndefinedArgInFrom, declared without a value', 'ARG DEBUG\nFROM scratch${DEBUG}', []],
  ['UndefinedArgInFrom, a default in place', 'ARG DEBUG\nFROM scra${DEBUG:-tch}', []],
  ['UndefinedArgInFrom, predefined', 'FROM --platform=$BUILDPLATFORM scratch', []],
  ['UndefinedArgInFrom', 'FROM scratch${version} AS b', ["UndefinedArgInFrom: FROM argument 'version' is not declared (1)"]],
  [
    'UndefinedArgInFrom with the nearest name',
    'ARG MY_TAG\nFROM scratch${MYTAG} AS b',
    ["UndefinedArgInFrom: FROM argument 'MYTAG' is not declared (did you mean MY_TAG?) (2)"],
  ],
  [
    'WorkdirRelativePath',
    'FROM scratch\nWORKDIR app/',
    ['WorkdirRelativePath: Relative workdir "app/" can have unexpected results if the base image changes (2)'],
  ],
  ['WorkdirRelativePath, after an absolute one', 'FROM scratch\nWORKDIR /app\nWORKDIR sub', []],
  ['WorkdirRelativePath, after one of the base stage', 'FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR sub', []],
  [
    'WorkdirRelativePath tells of the first only',
    'FROM scratch\nWORKDIR a\nWORKDIR b',
    ['WorkdirRelativePath: Relative workdir "a" can have unexpected results if the base image changes (2)'],
  ],
  ['UndefinedVar, declared without a value', 'FROM scratch\nARG foo\nCOPY a${foo} /', []],
  ['UndefinedVar, of the base stage', 'FROM scratch AS base\nARG foo=a\nFROM base\nCOPY $foo /', []],
  ['UndefinedVar, not in RUN', 'FROM base\nRUN echo $nothing', []],
  ['UndefinedVar', 'FROM scratch\nCOPY a$foo /\nARG foo=bar', ["UndefinedVar: Usage of undefined variable '$foo' (2)"]],
  [
    'UndefinedVar with the nearest name',
    'FROM scratch\nARG DIR_ASSETS=a\nCOPY a$DIR_ASSET /',
    ["UndefinedVar: Usage of undefined variable '$DIR_ASSET' (did you mean $DIR_ASSETS?) (3)"],
  ],
  [
    'UndefinedVar near PATH',
    'FROM scratch\nENV PATH=$PAHT:/tmp/bin',
    ["UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (2)"],
  ],
  ['UndefinedVar in a stage that is not built', 'FROM scratch AS x\nCOPY $foo /\nFROM scratch', []],
  ['UndefinedVar in a heredoc', 'FROM scratch\nCOPY <<EOF /f\n$nothing\nEOF', ["UndefinedVar: Usage of undefined variable '$nothing' (2)"]],
  [
    'MultipleInstructionsDisallowed',
    'FROM scratch\nENTRYPOINT ["/a"]\nENTRYPOINT ["/b"]\nCMD ["/a"]\nCMD ["/b"]\nHEALTHCHECK NONE\nHEALTHCHECK CMD ["/b"]',
    [2, 4, 6].map(
      (line, index) =>
        `MultipleInstructionsDisallowed: Multiple ${['ENTRYPOINT', 'CMD', 'HEALTHCHECK'][index]} instructions should not be used in the same stage because only the last one will be used (${line})`,
    ),
  ],
  ['MultipleInstructionsDisallowed, not over stages', 'FROM scratch AS a\nCMD ["/a"]\nFROM a\nCMD ["/b"]', []],
  [
    'LegacyKeyValueFormat',
    'FROM scratch\nENV testkey value\nLABEL key value',
    [
      'LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format (2)',
      'LegacyKeyValueFormat: "LABEL key=value" should be used instead of legacy "LABEL key value" format (3)',
    ],
  ],
  [
    'RedundantTargetPlatform',
    'FROM --platform=$TARGETPLATFORM scratch',
    ['RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (1)'],
  ],
  [
    'RedundantTargetPlatform with braces',
    'FROM --platform=${TARGETPLATFORM} scratch',
    ['RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior (1)'],
  ],
  [
    'SecretsUsedInArgOrEnv',
    [
      'FROM scratch',
      'ARG SECRET_PASSPHRASE',
      'ENV SUPER_Secret=foo',
      'ENV password=bar secret=baz',
      'ENV apikey=bar sunflower=foo',
      'ENV git_key=',
      'ENV PUBLIC_KEY=',
      'ARG public_token',
      'ENV password_file=bar',
      'ARG AUTH_MODULE_VERSION',
      '# check=skip=SecretsUsedInArgOrEnv // allowed here',
      'ENV token=bar',
      '# check=skip=all // here only',
      'ARG other_token',
      'ARG monkey',
    ].join('\n'),
    [
      ['ARG', 'SECRET_PASSPHRASE', 2],
      ['ENV', 'SUPER_Secret', 3],
      ['ENV', 'password', 4],
      ['ENV', 'secret', 4],
      ['ENV', 'apikey', 5],
      ['ENV', 'git_key', 6],
    ].map(
      ([kind, name, line]) => `SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (${kind} "${name}") (${line})`,
    ),
  ],
  [
    'InvalidDefaultArgInFrom, no default',
    'ARG IMAGE\nFROM $IMAGE',
    ['InvalidDefaultArgInFrom: Default value for ARG $IMAGE results in empty or invalid base image name (2)'],
    { request: { buildArgs: { IMAGE: 'base' } } },
  ],
  [
    'InvalidDefaultArgInFrom, no tag',
    'ARG VERSION\nFROM base:$VERSION',
    ['InvalidDefaultArgInFrom: Default value for ARG base:$VERSION results in empty or invalid base image name (2)'],
    { request: { buildArgs: { VERSION: 'latest' } } },
  ],
  ['InvalidDefaultArgInFrom, a sound default', 'ARG V=latest\nFROM base:${V}', []],
  ['InvalidDefaultArgInFrom, an empty suffix', 'ARG SUFFIX\nFROM base${SUFFIX}', []],
  [
    'FromPlatformFlagConstDisallowed',
    `FROM --platform=linux/${process.arch === 'arm64' ? 'arm64' : 'amd64'} scratch`,
    [
      `FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/${process.arch === 'arm64' ? 'arm64' : 'amd64'}" (1)`,
    ],
  ],
  [
    'FromPlatformFlagConstDisallowed, the stage says so',
    `FROM --platform=linux/${process.arch === 'arm64' ? 'arm64' : 'amd64'} scratch AS on-linux`,
    [],
  ],
  ['CopyIgnoredFile, not with an exception', 'FROM scratch\nCOPY a /', [], { files: { a: 'x', '.dockerignore': '*\n!a\n' } }],
  [
    'CopyIgnoredFile, not of another stage',
    'FROM scratch AS base\nCOPY a /b\nFROM base\nCOPY --from=base /b /c',
    [],
    { files: { a: 'x', '.dockerignore': 'b\n' } },
  ],
  ['CopyIgnoredFile, not of the root', 'FROM scratch\nCOPY . /', [], { files: { a: 'x', '.dockerignore': '.*\n' } }],
  [
    'CopyIgnoredFile of all',
    'FROM scratch\nCOPY . /',
    ['CopyIgnoredFile: Attempting to Copy file "." that is excluded by .dockerignore (2)'],
    { files: { a: 'x', '.dockerignore': '*\n' } },
  ],
  [
    'CopyIgnoredFile of a wildcard',
    'FROM scratch\nADD a* /',
    ['CopyIgnoredFile: Attempting to Add file "a*" that is excluded by .dockerignore (2)', 'a* matches nothing and is left out (2)'],
    { files: { a: 'x', '.dockerignore': '*\n' } },
  ],
  [
    'InvalidDefinitionDescription on request',
    '# check=experimental=InvalidDefinitionDescription\n# bar this is the bar\nARG foo=bar\n# BasE this is the base\nFROM scratch AS base\n# nothing of the kind\nARG foo=baz bar=qux',
    [
      'InvalidDefinitionDescription: Comment for ARG should follow the format: `# foo <description>` (3)',
      'InvalidDefinitionDescription: Comment for FROM should follow the format: `# base <description>` (5)',
      'InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>` (7)',
    ],
  ],
  [
    'InvalidDefinitionDescription, all in order',
    '# check=experimental=all\n# foo this is the foo\nARG foo=bar\n# base this is it\nFROM scratch AS base\n#\nARG bit=bat\n# of a COPY\nCOPY a /',
    [],
  ],
  ['InvalidDefinitionDescription, not asked for', '# bar\nARG foo=bar\nFROM scratch', []],
  [
    'ExposeProtoCasing',
    'FROM scratch\nEXPOSE 80/TcP 8080/TCP 8080/udp',
    [
      "ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase (2)",
      "ExposeProtoCasing: Defined protocol '8080/TCP' in EXPOSE instruction should be lowercase (2)",
    ],
  ],
  [
    'ExposeInvalidFormat',
    'FROM scratch\nEXPOSE 127.0.0.1:80:80 [::1]:8080:8080 5000:5000 8000',
    ['127.0.0.1:80:80', '5000:5000', '[::1]:8080:8080'].map(
      (port) => `ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '${port}' (2)`,
    ),
  ],
  ['skip one', '# check=skip=JSONArgsRecommended\nFROM scratch\nCMD x', []],
  ['skip several', '# check=skip=JSONArgsRecommended,StageNameCasing\nFROM scratch AS Big\nCMD x', []],
  ['skip all', '# check=skip=all\nFROM scratch as Big\ncmd x', []],
  [
    'skip another one',
    '# check=skip=StageNameCasing\nFROM scratch\nCMD x',
    ['JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (3)'],
  ],
  ['skip for one instruction', 'FROM scratch\n# check=skip=JSONArgsRecommended\nCMD x', []],
  [
    'skip for one instruction, not the next',
    'FROM scratch\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d',
    ['LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format (4)'],
  ],
  [
    'the build argument wins over the directive',
    '# check=skip=all\nFROM scratch\nCMD x',
    ['JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (3)'],
    { request: { buildArgs: { BUILDKIT_DOCKERFILE_CHECK: 'skip=StageNameCasing' } } },
  ],
  ['error=true and nothing to say', '# check=error=true\nFROM scratch\nCMD ["x"]', []],
  ['error=true and all skipped', '# check=skip=all;error=true\nFROM scratch\nCMD x', []],
];

export const checkCases: readonly Case[] = [
  ...rows.map(([name, dockerfile, warnings, more]): Case => ({ name, dockerfile, warnings, files: a, ...more })),
  {
    name: 'error=true ends the build',
    dockerfile: '# check=error=true\nFROM scratch AS Big\nCMD x',
    error: /^Dockerfile does not pass its checks: StageNameCasing, JSONArgsRecommended/,
    hint: /check=skip=NAME/,
  },
  {
    name: 'error=true as a build argument',
    dockerfile: 'FROM scratch\nMAINTAINER x',
    request: { buildArgs: { BUILDKIT_DOCKERFILE_CHECK: 'error=true' } },
    error: /does not pass its checks: MaintainerDeprecated/,
  },
  {
    name: 'an unknown option of checks',
    dockerfile: '# check=skp=all\nFROM scratch',
    error: /^Dockerfile:1:1: check=skp=all: /,
    hint: /Did you mean skip\?/,
  },
  { name: 'an error option that is no boolean', dockerfile: '# check=error=maybe\nFROM scratch', error: /error takes true or false/ },
  {
    name: 'CopyIgnoredFile before the error of it',
    files: { a: 'x', '.dockerignore': 'a\n' },
    dockerfile: '# check=error=true\nFROM scratch\nCOPY a /',
    error: /does not pass its checks: CopyIgnoredFile/,
  },
  {
    name: 'warnings come before a syntax error',
    dockerfile: 'FROM scratch AS BadStageName\nMAINTAINER me@example.org\nBADCMD',
    error: /^Dockerfile:3:1: unknown instruction BADCMD/,
    warnings: [
      "StageNameCasing: Stage name 'BadStageName' should be lowercase (1)",
      'MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (2)',
    ],
  },
  {
    name: 'a stage that is not built is not told of beside an image that is not there',
    dockerfile: 'FROM scratch AS a\nCMD x\nFROM nowhere/nothing:1',
    error: /^Dockerfile:3:1: /,
    warnings: [],
  },
  {
    name: 'warnings come before a step that cannot be made',
    dockerfile: 'FROM scratch\nCMD x\nCOPY none /',
    error: /none does not exist/,
    warnings: ['JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (2)'],
  },
];
