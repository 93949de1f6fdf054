#!/bin/sh
# Fetches the clients that the tests drive, into .clients/: the docker command lines of Debian 12 and 13, Debian 13's compose and buildx plugins, and Debian 12's dockerd
# with its containerd, for images to be pulled by.
# Their packages are unpacked there and not installed: the full ones start a service of their own. The mirror and its key are those of this
# host's apt, so that nothing is trusted here that the host does not trust already. Needs no root. Safe to repeat.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
into=$top/.clients

say() { printf 'slipway: %s\n' "$*" >&2; }

# NAME SUITE PACKAGE FILE-IN-PACKAGE
wanted='
docker-20 bookworm docker.io usr/bin/docker
dockerd-20 bookworm docker.io usr/sbin/dockerd
containerd-1 bookworm containerd usr/bin/containerd
containerd-shim-1 bookworm containerd usr/bin/containerd-shim-runc-v2
docker-26 trixie docker-cli usr/bin/docker
compose-2 trixie docker-compose usr/libexec/docker/cli-plugins/docker-compose
buildx-0 trixie docker-buildx usr/libexec/docker/cli-plugins/docker-buildx
'

missing() {
  printf '%s' "$wanted" | while read -r name suite package file; do
    [ -z "$name" ] || [ -x "$into/$name/${file##*/}" ] || printf '%s %s %s %s\n' "$name" "$suite" "$package" "$file"
  done
}

[ -n "$(missing)" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
  say "not a Debian or Ubuntu system: tests of docker's and compose's command lines are skipped"
  exit 0
fi

# Prints "URI FILE" of the host's own entry for Debian's main archive.
debian_entry() {
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(REPO_URI) $(SOURCESENTRY)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' 2>/dev/null |
    grep -v -e security -e updates -e backports | head -n 1
}

entry=$(debian_entry)
if [ -z "$entry" ] && [ "$(id -u)" = 0 ]; then
  apt-get update >/dev/null 2>&1 || true
  entry=$(debian_entry)
fi
if [ -z "$entry" ]; then
  say "apt here has no Debian mirror: tests of docker's and compose's command lines are skipped"
  exit 0
fi
mirror=${entry%% *}
sources=${entry#* }
key=$(sed -n -e 's/^Signed-By: *//p' -e 's/.*signed-by=\([^] ]*\).*/\1/p' "${sources%:*}" | head -n 1)

mkdir -p "$into"
work=$(mktemp -d "$into/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/debs"
{
  printf 'Types: deb\nURIs: %s\nSuites: bookworm trixie\nComponents: main\n' "$mirror"
  [ -z "$key" ] || printf 'Signed-By: %s\n' "$key"
} >"$work/debian.sources"

private_apt() {
  apt-get -o Dir::Etc::sourcelist="$work/debian.sources" -o Dir::Etc::sourceparts=- -o Dir::State="$work/state" \
    -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache" -o APT::Sandbox::User= -o Acquire::Retries=3 \
    -o APT::Update::Error-Mode=any "$@"
}

log=$work/log
if ! private_apt update >"$log" 2>&1; then
  tail -n 5 "$log" >&2
  # In CI a missing client is a missing test.
  [ -z "${CI:-}" ] || exit 1
  say "the Debian mirror $mirror cannot be reached: tests of docker's and compose's command lines are skipped"
  exit 0
fi

say "fetching docker's and compose's command lines for the tests (once)"
missing | while read -r name suite package file; do
  if ! (cd "$work/debs" && private_apt download "$package/$suite") >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    say "fetching $package of Debian $suite failed"
    exit 1
  fi
  dpkg-deb -x "$work/debs/$package"_*.deb "$work/$name.root"
  mkdir -p "$work/$name"
  mv "$work/$name.root/$file" "$work/$name/"
  rm -rf "$into/$name" "$work/debs/$package"_*.deb "$work/$name.root"
  mv "$work/$name" "$into/$name"
done
