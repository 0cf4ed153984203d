#!/usr/bin/env bash
# build-engine.sh FOLDER GO VERSION: builds Pulumi's CLI from its Go module into FOLDER/out, and
# puts the two helpers of the Python SDK beside it. FOLDER also takes the download and build
# caches (over 5 GB), to be deleted afterwards.
set -euo pipefail

work=$1 go=$2 version=$3
module=github.com/pulumi/pulumi
# A line of the CLI's own go.mod, and lines of its kind do not come along with a dependency.
clipboard_fork='github.com/atotto/clipboard => github.com/tgummerer/clipboard v0.0.0-20241001131231-d02d263e614e'

export GOMODCACHE=$work/modules GOCACHE=$work/cache GOTOOLCHAIN=local CGO_ENABLED=0
mkdir -p "$work/source" "$work/out"
cd "$work/source"
printf 'module engine\n\ngo 1.26\n\nreplace %s\n' "$clipboard_fork" >go.mod
"$go" get "$module/pkg/v3/cmd/pulumi@v$version"
"$go" build -v -trimpath -buildvcs=false -o "$work/out/pulumi" \
  -ldflags "-s -w -X $module/sdk/v3/go/common/version.Version=$version" \
  "$module/pkg/v3/cmd/pulumi"
sdk=$("$go" list -m -f '{{.Dir}}' "$module/sdk/v3")
install -m 755 "$sdk/python/cmd/pulumi-language-python-exec" \
  "$sdk/python/dist/pulumi-resource-pulumi-python" "$work/out/"
