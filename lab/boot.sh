#!/bin/sh
# Power button of a node: enter its control group and namespaces, then run init.sh there.
#   boot.sh NETWORK-NAMESPACE FOLDER NAME, with
#   GROUP_FILES: the cgroup.procs files to enter, one per line
set -eu

for file in $GROUP_FILES; do
  echo $$ >"$file"
done
unset GROUP_FILES

# --kill-child: the death of this process is a power cut, like that of the node's first process.
exec nsenter --net="$1" \
  unshare --uts --ipc --pid --cgroup --mount --fork --kill-child \
  bash "$(dirname "$0")/init.sh" "$2" "$3"
