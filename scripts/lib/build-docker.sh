#!/usr/bin/env bash
# build-docker.sh FOLDER GO: builds the engine of a Spark's generation from its Go modules into
# FOLDER/out: dockerd 29, the docker command, containerd 2, its shim, and runc 1.3. FOLDER also takes the download and
# build caches (about 3 GB), to be deleted afterwards. runc needs a C compiler and libseccomp-dev.
set -euo pipefail

work=$1 go=$2
moby=2.0.0-beta.24 docker=29.2.1 containerd=2.3.5 runc=1.3.3
export GOMODCACHE=$work/modules GOCACHE=$work/cache GOTOOLCHAIN=local GOFLAGS=-trimpath
mkdir -p "$work/out"

# module NAME REQUIREMENT…: a module of our own that requires those, to build their commands in.
module() {
  mkdir -p "$work/$1"
  cd "$work/$1"
  printf 'module engine\n\ngo 1.25\n' >go.mod
  "$go" get "${@:2}"
}

module moby "github.com/moby/moby/v2/cmd/dockerd@v$moby" \
  "github.com/moby/moby/v2/cmd/docker-proxy@v$moby" \
  "github.com/containerd/containerd/v2/cmd/containerd@v$containerd" \
  "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2@v$containerd"
version=github.com/moby/moby/v2/dockerversion
CGO_ENABLED=0 "$go" build -buildvcs=false -o "$work/out/" \
  -ldflags "-s -w -X $version.Version=$docker" \
  github.com/moby/moby/v2/cmd/dockerd github.com/moby/moby/v2/cmd/docker-proxy
CGO_ENABLED=0 "$go" build -buildvcs=false -tags no_btrfs -o "$work/out/" \
  -ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=$containerd" \
  github.com/containerd/containerd/v2/cmd/containerd \
  github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2

# The command is no Go module by its own account: what it is built with stands in its vendor.mod.
mkdir -p "$work/cli"
cd "$work/cli"
printf 'module cli\n\ngo 1.25\n' >go.mod
cli=$("$go" mod download -json "github.com/docker/cli@v$docker+incompatible" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
sed 's/^module .*/module cli/' "$cli/vendor.mod" >go.mod
"$go" mod edit -require "github.com/docker/cli@v$docker+incompatible"
# It is not built without something here that imports it.
printf '//go:build tools\n\npackage cli\n\nimport _ "github.com/docker/cli/cmd/docker"\n' >tools.go
CGO_ENABLED=0 "$go" build -mod=mod -buildvcs=false -o "$work/out/docker" \
  -ldflags "-s -w -X github.com/docker/cli/cli/version.Version=$docker" github.com/docker/cli/cmd/docker

module runc "github.com/opencontainers/runc@v$runc"
CGO_ENABLED=1 "$go" build -buildvcs=false -tags seccomp -o "$work/out/runc" \
  -ldflags "-s -w -X main.version=$runc" github.com/opencontainers/runc
