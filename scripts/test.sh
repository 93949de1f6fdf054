#!/bin/sh
# All tests from a clean clone: set-up, checks, build, unit tests side by side, then those that own ports, mounts and daemons one by one.
# With arguments: only those test files.
set -u
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$top" || exit 1

sh scripts/setup.sh node test build || exit 1
# The docker command line that was fetched serves where the system has none.
PATH=$top/node_modules/.bin:$PATH:$top/.clients/docker-26
export PATH NO_COLOR=1

results=$(mktemp -d) || exit 1
trap 'rm -rf "$results"' EXIT
status=0

suite() { # NAME CONCURRENCY FILE...
  name=$1 concurrency=$2
  shift 2
  [ $# -gt 0 ] || return 0
  printf '\n== %s (%s files)\n' "$name" "$#"
  node --test --test-concurrency="$concurrency" --test-timeout=600000 \
    --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$results/$name.tap" "$@" || status=1
}

if [ $# -gt 0 ]; then
  suite chosen 1 "$@"
else
  npm run --silent check || status=1
  # shellcheck disable=SC2046
  {
    suite unit 2 $(find src -name '*.test.ts' | sort)
    suite fuzz 2 $(find test/fuzz -name '*.test.ts' | sort)
    suite contracts 1 $(find test/contracts -name '*.test.ts' | sort)
    suite house 1 $(find test/house -name '*.test.ts' | sort)
    suite conformance 1 $(find test/conformance -name '*.test.ts' | sort)
    suite integration 1 $(find test/integration -name '*.test.ts' | sort)
    suite security 1 $(find test/security -name '*.test.ts' | sort)
    suite clients 1 $(find test/clients -name '*.test.ts' | sort)
  }
fi

count() { cat "$results"/*.tap 2>/dev/null | awk -v key="$1" '$1 == "#" && $2 == key { sum += $3 } END { print sum + 0 }'; }
failed=$(($(count fail) + $(count cancelled)))
printf '\n%s passed, %s failed, %s skipped\n' "$(count pass)" "$failed" "$(count skipped)"
[ "$failed" -eq 0 ] && [ "$status" -eq 0 ]
