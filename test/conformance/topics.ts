import type { Case } from './case.ts';
import { argumentCases } from './cases/arguments.ts';
import { checkCases } from './cases/checks.ts';
import { configCases } from './cases/config.ts';
import { contextCases } from './cases/contexts.ts';
import { copyCases } from './cases/copy.ts';
import { directiveCases } from './cases/directives.ts';
import { errorCases } from './cases/errors.ts';
import { expansionCases } from './cases/expansion.ts';
import { heredocCases } from './cases/heredocs.ts';
import { ignoreCases } from './cases/ignore.ts';
import { modeCases } from './cases/modes.ts';
import { mountCases } from './cases/mounts.ts';
import { onbuildCases } from './cases/onbuild.ts';
import { parentsCases } from './cases/parents.ts';
import { runCases } from './cases/run.ts';
import { stageCases } from './cases/stages.ts';

export const topics: Record<string, readonly Case[]> = {
  arguments: argumentCases,
  checks: checkCases,
  config: configCases,
  contexts: contextCases,
  copy: copyCases,
  directives: directiveCases,
  errors: errorCases,
  expansion: expansionCases,
  heredocs: heredocCases,
  ignore: ignoreCases,
  modes: modeCases,
  mounts: mountCases,
  onbuild: onbuildCases,
  parents: parentsCases,
  run: runCases,
  stages: stageCases,
};

/** The files of the image `base`, beside busybox. */
export const baseFiles = {
  'etc/passwd': 'root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n',
  'etc/group': 'root:x:0:\nstaff:x:50:\n',
  'tmp/': { mode: 0o1777 },
};
