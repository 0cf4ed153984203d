# shellcheck shell=bash
# shellcheck disable=SC2154 # `log`, and `say`, are the script's that sources this
# Signs of life from a long step: its name, and every few seconds the last line of its log. Sourced.

progress_watch="" # the process that reports
progress_interval=10

# progress_begin NAME PATIENCE: reports with `say` from now on, the first time after PATIENCE seconds.
progress_begin() {
  progress_reports "$@" 2>/dev/null &
  progress_watch=$!
}

progress_end() {
  [[ $progress_watch ]] || return 0
  kill "$progress_watch" 2>/dev/null || true
  wait "$progress_watch" 2>/dev/null || true
  progress_watch=""
}

progress_reports() {
  local last nap="" patience=$2
  trap 'kill $nap 2>/dev/null; exit' TERM
  while kill -0 $$ 2>/dev/null; do
    # Its output is closed: nobody who reads ours has to wait for the end of this sleep.
    sleep "$patience" >/dev/null 2>&1 3>&- &
    nap=$!
    wait "$nap" || true
    last=$(tail -n 1 "$log" | tr -d '\000-\037' | cut -c 1-40)
    [[ $last != "== "* ]] || last="" # the step's own title
    say "  … $1${last:+: $last}"
    patience=$progress_interval
  done
}
