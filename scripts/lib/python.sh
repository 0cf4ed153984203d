# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables shared with scripts/setup and its other parts
# The Python environment .venv. Sourced; needs debian.sh.

lock="$root/requirements.lock" # scripts/lock makes it of requirements.txt and requirements-dev.txt

# The first Python of at least 3.11.
find_python() {
  local python
  for python in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      # Not a version manager's wrapper, which costs time at each start.
      "$python" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  echo "Python 3.11 or newer is needed; on this machine there is $(python3 --version 2>&1)." \
    "Install one (Debian 12, Ubuntu 24.04 have it) and run this again." >&3
  return 1
}

# What .venv was made from: the locked packages, and its place (a moved environment is broken).
environment_fingerprint() {
  { cat "$lock" "$root/pyproject.toml"; printf '%s' "$root"; } | sha256sum | cut -d ' ' -f 1
}

# pip_locked PYTHON LOCK: its packages, each a wheel with one of the hashes there. No source is built, whose
# build would fetch packages that no lock names.
pip_locked() {
  "$1" -m pip install --disable-pip-version-check --require-hashes --only-binary :all: -r "$2"
}

step_python() {
  local python wanted stamp="$root/.venv/.made-from"
  wanted=$(environment_fingerprint)
  if [[ -x $root/.venv/bin/python && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    step_result=".venv is there"
    return
  fi
  python=$(find_python)
  "$python" -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
  "$root/.venv/bin/python" -c 'import pip' 2>/dev/null || "$python" -m venv --clear "$root/.venv"
  pip_locked "$root/.venv/bin/python" "$lock"
  # The project itself, for its one command: trtspark. The lock has what builds it.
  "$root/.venv/bin/python" -m pip install --disable-pip-version-check --no-deps --no-build-isolation \
    --editable "$root"
  # A link to `lib`, unused where Python's libraries are there: `pulumi new` cannot copy links to folders.
  if [[ $("$python" -c 'import sys; print(sys.platlibdir)') == lib ]]; then rm -f "$root/.venv/lib64"; fi
  printf '%s' "$wanted" >"$stamp"
  step_result="$("$root/.venv/bin/python" --version) with $(basename "$lock")"
}
