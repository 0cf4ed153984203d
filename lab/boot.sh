#!/bin/sh
# Power button of a node: enter its namespaces, then run init.sh there as the first process.
#   boot.sh NETWORK-NAMESPACE FOLDER, and what init.sh wants
set -eu

# --kill-child: the death of this process is a power cut, like that of the node's first process.
exec nsenter --net="$1" \
  unshare --uts --ipc --pid --mount --fork --kill-child \
  bash "$(dirname "$0")/init.sh" "$2"
