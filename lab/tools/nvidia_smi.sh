#!/bin/sh
# Simulates nvidia-smi 580.142 on a Spark, inside and outside of containers.
#
# Recorded facts: a GB10 has no memory of its own, so its memory fields are "[N/A]" in CSV and "Not
# Supported" in the table; it does list processes and their memory. An unknown field or option, or
# no --format, is refused with exit code 2; "No devices were found" is 6.
# A test writes NAME=VALUE lines (use, power, temperature, clock, reasons) into /etc/lab/gpu-state for a GPU
# that does something. --lock-gpu-clocks and --reset-gpu-clocks need root (exit code 4 without), and a range
# that is none or goes above clocks.max.sm is refused with 2. The driver forgets a lock when the machine
# starts, and no field tells it; the clock, idle included, stays at or below it (field reports of GB10).
# A process uses the GPU when it has a /dev/nvidia* file open.
set -u

DRIVER=580.142
BUS=0000000F:01:00.0 # of the first GPU; more of them are a variant of the lab
MOST_MHZ=3003
LOCK=/run/lab/gpu-clocks # "MIN MAX"; /run is empty when the machine starts, as the driver is
HELP="Please run 'nvidia-smi -h' for help."

refuse() {
  echo "$1"
  exit 2
}

# state NAME DEFAULT: what a test wants the GPU to say.
state() {
  found=$(sed -n "s/^$1=//p" /etc/lab/gpu-state 2>/dev/null | tail -n 1)
  echo "${found:-$2}"
}

# The clock in MHz, no higher than a lock.
clock() {
  now=$(state clock 208)
  if [ -r "$LOCK" ]; then
    read -r _ most <"$LOCK"
    [ "$now" -le "$most" ] || now=$((most - most % 15))
  fi
  echo "$now"
}

may_change_clocks() {
  [ "$(id -u)" != 0 ] || return 0
  echo "The current user does not have permission to change clocks for GPU $bus."
  echo "Terminating early due to previous errors."
  exit 4
}

lock_clocks() {
  may_change_clocks
  case $range in
    *,*) least=${range%%,*} most=${range#*,} ;;
    *) least=$range most=$range ;;
  esac
  case $least$most in
    '' | *[!0-9]*) refuse "ERROR: Option --lock-gpu-clocks has an invalid value. $HELP" ;;
  esac
  if [ "$least" -gt "$most" ] || [ "$most" -gt "$MOST_MHZ" ]; then
    refuse "Setting locked GPU clocks for GPU $bus failed: Invalid Argument"
  fi
  mkdir -p "${LOCK%/*}"
  echo "$least $most" >"$LOCK"
  echo "GPU clocks set to \"(gpuClkMin $least, gpuClkMax $most)\" for GPU $bus"
}

reset_clocks() {
  may_change_clocks
  rm -f "$LOCK"
  echo "All done."
}

# Calls "$@" for every GPU that was asked for, with its index, uuid and bus set.
each_gpu() {
  index=0 shown=0
  if [ -r /etc/lab/gpu ]; then
    while read -r uuid; do
      bus=$BUS
      [ "$index" = 0 ] || bus=0000000F:0$((index + 1)):00.0
      case ${selected:-all} in
        all | "$index" | "$uuid" | "$bus")
          shown=$((shown + 1))
          "$@"
          ;;
      esac
      index=$((index + 1))
    done </etc/lab/gpu
  fi
  [ "$shown" != 0 ] || none
}

none() {
  echo "No devices were found"
  exit 6
}

# "PID NAME MEMORY" of every process that uses the GPU, memory in MiB.
processes() {
  # A container does not see the processes that the driver knows: real ones list nothing there.
  [ -x /usr/lib/lab/open-files ] || return 0
  /usr/lib/lab/open-files /proc/[0-9]*/fd -maxdepth 1 -lname '/dev/nvidia*' -printf '%h\n' 2>/dev/null |
    sort -u | while IFS=/ read -r _ _ pid _; do
      program=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | head -n 1)
      memory=$(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status" 2>/dev/null)
      [ -z "$program" ] || echo "$pid $program $((${memory:-0} / 1024))"
    done
}

# Prints the value of a field of --query-gpu, with its unit; status 1 for one that does not exist.
gpu_field() {
  case $1 in
    timestamp) date '+%Y/%m/%d %H:%M:%S.000' ;;
    count) grep -c . /etc/lab/gpu ;;
    index) echo "$index" ;;
    name | gpu_name) echo 'NVIDIA GB10' ;;
    uuid | gpu_uuid) echo "$uuid" ;;
    driver_version) echo "$DRIVER" ;;
    compute_cap) echo 12.1 ;;
    serial | gpu_serial) echo '[N/A]' ;;
    pci.bus_id | gpu_bus_id) echo "$bus" ;;
    pci.domain) echo 0x000F ;;
    pci.bus) echo "0x0$((index + 1))" ;;
    pci.device) echo 0x00 ;;
    persistence_mode) echo Enabled ;;
    compute_mode) echo Default ;;
    pstate) echo P8 ;;
    vbios_version) echo 9A.0B.1C.00.00 ;;
    memory.total | memory.used | memory.free | memory.reserved) echo '[N/A]' ;;
    utilization.gpu) echo "$(state use 0) %" ;;
    utilization.memory) echo '0 %' ;;
    power.draw | power.draw.average | power.draw.instant) echo "$(state power 11.17) W" ;;
    power.limit | enforced.power.limit | power.default_limit | power.min_limit | power.max_limit)
      echo '[N/A]'
      ;;
    temperature.gpu) state temperature 38 ;;
    temperature.memory | fan.speed) echo '[N/A]' ;;
    clocks.sm | clocks.current.sm | clocks.gr | clocks.current.graphics) echo "$(clock) MHz" ;;
    clocks.max.sm | clocks.max.graphics) echo "$MOST_MHZ MHz" ;;
    clocks.applications.graphics) echo '2418 MHz' ;;
    clocks.mem | clocks.current.memory | clocks.max.memory) echo '[N/A]' ;;
    clocks_event_reasons.active | clocks_throttle_reasons.active) state reasons 0x0000000000000001 ;;
    ecc.mode.current | mig.mode.current | display_active | accounting.mode) echo '[N/A]' ;;
    *) return 1 ;;
  esac
}

# A field as the header line names it: the name, and the unit in brackets.
header_of() {
  case $1 in
    memory.*) echo "$1 [MiB]" ;;
    used_memory | used_gpu_memory) echo "used_gpu_memory [MiB]" ;;
    utilization.*) echo "$1 [%]" ;;
    power.* | enforced.power.limit) echo "$1 [W]" ;;
    clocks.*) echo "$1 [MHz]" ;;
    *) echo "$1" ;;
  esac
}

# Joins the lines of stdin with ", ".
join() {
  awk '{ printf "%s%s", sep, $0; sep = ", " } END { if (NR) print "" }'
}

without_units() {
  case ,$format, in
    *,nounits,*) sed -E 's/ (MiB|%|W|MHz)$//' ;;
    *) cat ;;
  esac
}

print_header() {
  case ,$format, in
    *,noheader,*) return ;;
  esac
  for field in $fields; do
    case ,$format, in
      *,nounits,*) header_of "$field" | sed 's/ \[.*//' ;;
      *) header_of "$field" ;;
    esac
  done | join
}

query_gpu() {
  each_gpu true
  for field in $fields; do
    gpu_field "$field" >/dev/null || refuse "Field \"$field\" is not a valid field to query.
"
  done
  print_header
  each_gpu gpu_row
}

gpu_row() {
  for field in $fields; do
    gpu_field "$field" | without_units
  done | join
}

query_processes() {
  each_gpu true
  for field in $fields; do
    case $field in
      timestamp | pid | process_name | name | used_memory | used_gpu_memory) ;;
      gpu_name | gpu_uuid | gpu_bus_id) ;;
      *) refuse "Field \"$field\" is not a valid field to query.
" ;;
    esac
  done
  print_header
  processes | while read -r pid program memory; do
    for field in $fields; do
      case $field in
        pid) echo "$pid" ;;
        process_name | name) echo "$program" ;;
        used_memory | used_gpu_memory) echo "$memory MiB" ;;
        *) gpu_field "$field" ;;
      esac
    done | without_units | join
  done
}

table() {
  each_gpu true
  date '+%a %b %e %H:%M:%S %Y       '
  cat <<TABLE
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI $DRIVER                Driver Version: $DRIVER        CUDA Version: 13.0     |
+-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|                                         |                        |               MIG M. |
|=========================================+========================+======================|
TABLE
  each_gpu table_row
  cat <<TABLE

+-----------------------------------------------------------------------------------------+
| Processes:                                                                              |
|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |
|        ID   ID                                                               Usage      |
|=========================================================================================|
TABLE
  processes | awk '
    { printf "|    0   N/A  N/A %15s      C   %-36.36s %7sMiB |\n", $1, $2, $3 }
    END { if (!NR) printf "|  %-86s |\n", "No running processes found" }'
  echo '+-----------------------------------------------------------------------------------------+'
}

table_row() {
  cat <<ROW
|   $index  NVIDIA GB10                    On  |   $bus Off |                  N/A |
| N/A   38C    P8             11W /  N/A  | Not Supported          |      0%      Default |
|                                         |                        |                  N/A |
+-----------------------------------------+------------------------+----------------------+
ROW
}

log() {
  each_gpu true
  cat <<LOG

==============NVSMI LOG==============

Timestamp                                              : $(date '+%a %b %e %H:%M:%S %Y')
Driver Version                                         : $DRIVER
CUDA Version                                           : 13.0

Attached GPUs                                          : $(grep -c . /etc/lab/gpu)
LOG
  each_gpu log_of_one
}

log_of_one() {
  cat <<LOG
GPU $bus
    Product Name                                       : NVIDIA GB10
    Product Brand                                      : NVIDIA
    Product Architecture                               : Blackwell
    Persistence Mode                                   : Enabled
    GPU UUID                                           : $uuid
    FB Memory Usage
        Total                                          : N/A
        Reserved                                       : N/A
        Used                                           : N/A
        Free                                           : N/A
    Utilization
        GPU                                            : 0 %
        Memory                                         : 0 %
    Temperature
        GPU Current Temp                               : 38 C
    GPU Power Readings
        Average Power Draw                             : 11.17 W
        Current Power Limit                            : N/A
    Max Clocks
        Graphics                                       : 3003 MHz
        SM                                             : 3003 MHz
        Memory                                         : N/A

LOG
}

list_row() {
  echo "GPU $index: NVIDIA GB10 (UUID: $uuid)"
}

act=table
format='' fields='' selected='' loop='' range=''
while [ $# -gt 0 ]; do
  case $1 in
    -L | --list-gpus) act=list ;;
    -q | -a | --query) act=log ;;
    -d | --display) shift ;;
    -h | --help)
      echo "NVIDIA System Management Interface -- v$DRIVER"
      exit 0
      ;;
    --version)
      echo "NVIDIA-SMI version  : $DRIVER"
      echo "NVML version        : 580.142"
      echo "DRIVER version      : $DRIVER"
      echo "CUDA Version        : 13.0"
      exit 0
      ;;
    -i | --id)
      [ $# -gt 1 ] || refuse "ERROR: Option $1 is missing its value. $HELP"
      selected=$2
      shift
      ;;
    -lgc | --lock-gpu-clocks)
      [ $# -gt 1 ] || refuse "ERROR: Option $1 is missing its value. $HELP"
      act=lock_clocks range=$2
      shift
      ;;
    --lock-gpu-clocks=*) act=lock_clocks range=${1#*=} ;;
    -rgc | --reset-gpu-clocks) act=reset_clocks ;;
    -i=* | --id=*) selected=${1#*=} ;;
    -lms | --loop-ms)
      [ $# -gt 1 ] || refuse "ERROR: Option $1 is missing its value. $HELP"
      loop=$2
      shift
      ;;
    --loop-ms=*) loop=${1#*=} ;;
    --query-gpu=*) act=query_gpu fields=${1#*=} ;;
    --query-compute-apps=*) act=query_processes fields=${1#*=} ;;
    --query-gpu | --query-compute-apps)
      [ $# -gt 1 ] || refuse "ERROR: Option $1 is missing its value. $HELP"
      act=query_gpu fields=$2
      [ "$1" = --query-gpu ] || act=query_processes
      shift
      ;;
    --format=*) format=${1#*=} ;;
    --format)
      [ $# -gt 1 ] || refuse "ERROR: Option $1 is missing its value. $HELP"
      format=$2
      shift
      ;;
    *) refuse "ERROR: Option $1 is not recognized. $HELP" ;;
  esac
  shift
done

fields=$(echo "$fields" | tr ',' ' ')
case $act in
  list) each_gpu list_row ;;
  lock_clocks) each_gpu lock_clocks && echo "All done." ;;
  reset_clocks) each_gpu reset_clocks ;;
  query_gpu | query_processes)
    case ,$format, in
      *,csv,*) ;;
      ,,) refuse "\"--format=\" switch is missing. $HELP" ;;
      *) refuse "Invalid \"--format=\" value. $HELP" ;;
    esac
    "$act"
    while [ -n "$loop" ]; do
      sleep "$(awk "BEGIN { print $loop / 1000 }")"
      "$act"
    done
    ;;
  *) "$act" ;;
esac
