# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables shared with scripts/setup and its other parts
# Steps with elapsed time on the screen and everything else in a log. Sourced; needs `root`.

# shellcheck source=scripts/lib/progress.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/progress.sh"

log="$root/.lab/setup.log"
step_started_us=${EPOCHREALTIME/[.,]/}
step_name=""
step_result=""
step_patience=1 # seconds until a step is announced

# Opens the log and keeps the screen as descriptor 3.
steps_begin() {
  mkdir -p "$(dirname "$log")"
  : >"$log"
  exec 3>&1
  export PYTHONUNBUFFERED=1 # pip writes to the log as it works
  trap steps_end EXIT
}

# Prints a line with the seconds since the start.
say() {
  local us=$((${EPOCHREALTIME/[.,]/} - step_started_us))
  printf '[%3d.%ds] %s\n' $((us / 1000000)) $((us / 100000 % 10)) "$*" >&3
}

# step NAME FUNCTION: runs it, output to the log; what it put into step_result is shown.
# Not in a condition: `set -e` must hold inside.
step() {
  step_name=$1
  step_result=""
  printf '\n== %s\n' "$1" >>"$log"
  progress_begin "$1" "$step_patience"
  "$2" >>"$log" 2>&1
  progress_end
  say "$1${step_result:+: $step_result}"
  step_name=""
}

# On the way out: undo what must not stay, and say what failed and where to read on.
steps_end() {
  local status=$?
  progress_end
  services_allow_start
  if ((status)) && [[ $step_name ]]; then
    say "$step_name: failed. The last lines of $log:"
    tail -n 15 "$log" | sed 's/^/    /' >&3
  fi
  return "$status"
}
