#!/usr/bin/env bash
# build-nvidia.sh FOLDER GO VERSION: builds NVIDIA's own nvidia-ctk, nvidia-container-runtime and
# nvidia-container-runtime-hook of that version from their Go module into FOLDER/out. FOLDER also takes the
# download and build caches, to be deleted afterwards. Needs a C compiler.
set -euo pipefail

work=$1 go=$2 version=$3
module=github.com/NVIDIA/nvidia-container-toolkit
export GOMODCACHE=$work/modules GOCACHE=$work/cache GOTOOLCHAIN=local GOFLAGS=-trimpath CGO_ENABLED=1
mkdir -p "$work/out" "$work/source"
cd "$work/source"
printf 'module toolkit\n\ngo 1.25\n' >go.mod
commands=()
for name in nvidia-ctk nvidia-container-runtime nvidia-container-runtime-hook nvidia-cdi-hook; do
  commands+=("$module/cmd/$name")
done
"$go" get "${commands[@]/%/@v$version}"
# libnvidia-ml is opened when it is needed: its symbols stay open until then, as in NVIDIA's own build.
"$go" build -buildvcs=false -o "$work/out/" \
  -ldflags "-s -w -X $module/internal/info.version=$version '-extldflags=-Wl,--export-dynamic -Wl,--unresolved-symbols=ignore-in-object-files -Wl,-z,lazy'" \
  "${commands[@]}"
