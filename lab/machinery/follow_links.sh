#!/bin/bash
# Bring the simulated RDMA devices up to date whenever a port of the ConnectX-7 changes: its carrier,
# its state or an address. Other interfaces (containers come and go) are none of our business.
set -euo pipefail

ip -oneline monitor link address | grep --line-buffered -E ' (enp1|enP2p1)s0f[01]np[01][ @:]' |
  while read -r _; do
    # Changes come in bursts: one look after the last of them.
    while read -r -t 0.05 _; do :; done
    /usr/lib/lab/rdma-devices
  done
