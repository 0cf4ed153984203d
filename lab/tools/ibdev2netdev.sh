#!/bin/sh
# Simulates ibdev2netdev of NVIDIA's OFED tools: which network interface belongs to which RDMA device.
# Output as on a Spark: "rocep1s0f1 port 1 ==> enp1s0f1np1 (Up)", one line per device, by name.
set -eu

case ${1:-} in
  '') ;;
  -h | --help)
    echo "Usage: ibdev2netdev [-v] [-h]"
    exit 0
    ;;
  -v) ;;
  *)
    echo "Usage: ibdev2netdev [-v] [-h]" >&2
    exit 1
    ;;
esac

for device in /sys/class/infiniband/*; do
  [ -d "$device" ] || continue
  name=${device##*/}
  read -r state <"$device/ports/1/state"
  case $state in
    *ACTIVE) word=Up ;;
    *) word=Down ;;
  esac
  for netdev in "$device"/device/net/*; do
    if [ "${1:-}" = -v ]; then
      read -r type <"$device/hca_type"
      read -r firmware <"$device/fw_ver"
      printf '%s (%s) fw %s port 1 (%s) ==> %s (%s)\n' \
        "$name" "$type" "$firmware" "${state#*: }" "${netdev##*/}" "$word"
    else
      printf '%s port 1 ==> %s (%s)\n' "$name" "${netdev##*/}" "$word"
    fi
  done
done
