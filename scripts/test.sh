#!/bin/sh
# All tests from a clean clone: set-up, build, then the checks and every test file (scripts/test.ts).
# With arguments: only those test files.
set -u
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$top" || exit 1

sh scripts/setup.sh node test build || exit 1
# The docker command line that was fetched serves where the system has none.
PATH=$top/node_modules/.bin:$PATH:$top/.clients/docker-26
export PATH NO_COLOR=1
exec node scripts/test.ts "$@"
