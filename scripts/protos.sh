#!/bin/sh
# Makes src/buildkit/gen/ from src/buildkit/proto/. The generators are fetched into a folder of their own for it: nothing else needs them.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm init -y >/dev/null && npm install --ignore-scripts --no-audit --no-fund --save-exact @bufbuild/buf@1.75.0 @bufbuild/protoc-gen-es@2.17.0 >/dev/null)
cat >"$work/buf.gen.yaml" <<END
version: v2
inputs:
  - directory: $top/src/buildkit/proto
plugins:
  - local: $work/node_modules/.bin/protoc-gen-es
    out: $top/src/buildkit/gen
    clean: true
    opt: [target=ts, import_extension=ts, erasable_syntax=true]
END
cd "$work" && PATH="$work/node_modules/.bin:$PATH" buf generate --template buf.gen.yaml
