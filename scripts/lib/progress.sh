# shellcheck shell=bash
# shellcheck disable=SC2154 # `log`, and `say`, are the script's that sources this
# Signs of life from a long step: its name, and every few seconds the last line of its log. Sourced.

progress_watch="" # the process that reports
progress_interval=10

# progress_begin NAME PATIENCE: reports with `say` from now on, the first time after PATIENCE seconds.
progress_begin() {
  progress_reports "$@" 2>/dev/null &
  progress_watch=$!
  disown "$progress_watch" # else bash tells of its end
}

# With KILL: on any other signal bash would run the script's own EXIT trap in there.
progress_end() {
  [[ $progress_watch ]] || return 0
  kill -KILL "$progress_watch" 2>/dev/null || true
  progress_watch=""
}

progress_reports() {
  local said never patience=$2
  exec {never}<> <(:)
  while kill -0 $$; do
    read -r -t "$patience" -u "$never" || true # a sleep that is no process, and so ends with this one
    said=$(progress_last)
    say "  … $1${said:+: $said}"
    patience=$progress_interval
  done
}

# The last line of the log that says something, cut to a terminal's width; nothing right after a step's title.
progress_last() {
  tail -n 5 "$log" | tr -cd '\n\040-\176' | sed -e 's/^ *//' -e '/^$/d' | tail -n 1 | grep -v '^== ' |
    cut -c 1-40 || true
}
