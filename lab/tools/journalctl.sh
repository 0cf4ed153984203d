#!/bin/sh
# Simulates journalctl as far as the log of one service goes: `journalctl -u docker [-n LINES]`.
set -u

unit='' lines=''
while [ $# -gt 0 ]; do
  case $1 in
    -u | --unit | -n | --lines)
      [ $# -gt 1 ] || {
        echo "journalctl: option '$1' requires an argument" >&2
        exit 1
      }
      case $1 in
        -u | --unit) unit=$2 ;;
        *) lines=$2 ;;
      esac
      shift
      ;;
    -u*) unit=${1#-u} ;;
    -xeu) unit=${2:-} && shift ;;
    --unit=*) unit=${1#*=} ;;
    -n*) lines=${1#-n} ;;
    --lines=*) lines=${1#*=} ;;
    --no-pager | -q | --quiet | -e | -x | -b) ;;
    *)
      echo "journalctl: '$1' is not simulated" >&2
      exit 1
      ;;
  esac
  shift
done

case ${unit%.service} in
  docker) log=/var/log/dockerd.log ;;
  containerd) log=/var/log/containerd.log ;;
  ssh | sshd) log=/var/log/sshd.log ;;
  *) log='' ;;
esac
if [ -z "$log" ] || [ ! -s "$log" ]; then
  echo "-- No entries --"
elif [ -n "$lines" ]; then
  tail -n "$lines" "$log"
else
  cat "$log"
fi
