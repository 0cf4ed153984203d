#!/bin/sh
# The only thing the MPI key may do on this machine: run what mpirun asks for inside this node's own
# rank container. STACK is filled in when this file is installed. After a manager's restart Swarm may run
# two for a moment: the newest counts (docker ps lists it first).
set -eu
container=$(docker ps --quiet --no-trunc --filter label=trtspark.stack=@STACK@ --filter label=trtspark.rank | head -n 1)
if [ -z "$container" ]; then
	echo "no rank container of stack @STACK@ runs on $(hostname)" >&2
	exit 125
fi
# When memory runs out, the kernel ends a rank before everything else (remote/rank0/processes.py).
first='{ echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null'
# bash, because part of the image's environment is set in its start-up file.
exec docker exec --interactive "$container" bash -c "$first; ${SSH_ORIGINAL_COMMAND:-true}"
