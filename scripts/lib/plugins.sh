# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables shared with scripts/setup and its other parts
# The engine's plugins: the vendor's, or the stand-ins of plugins/ where those cannot be had.
# Sourced; needs engine.sh.

stand_in_home="$tools/pulumi-home"

step_plugins() {
  if [[ $engine_source != built ]] && vendor_plugins; then
    rm -rf "$stand_in_home"
    step_result="the vendor's"
    return
  fi
  if [[ $engine_source == built ]]; then
    write_launcher "$tools/bin/pulumi-language-python" language \
      "$tools/bin/pulumi-language-python-exec"
  fi
  stand_in_plugins
  step_result="stand-ins of plugins/, as the vendor's cannot be downloaded here"
}

# The pulumi to use, wherever it came from.
pulumi() {
  if [[ -x $tools/bin/pulumi ]]; then "$tools/bin/pulumi" "$@"; else command pulumi "$@"; fi
}

site_packages() { echo "$root"/.venv/lib/python3.*/site-packages; }

# The version of the plugin that the installed SDK (pulumi_NAME) asks for.
plugin_version() {
  sed -n 's/.*"version": *"v\{0,1\}\([^"]*\)".*/\1/p' "$(site_packages)/pulumi_$1/pulumi-plugin.json"
}

vendor_plugins() {
  local name version home="${PULUMI_HOME:-$HOME/.pulumi}"
  # `eval "$(scripts/env)"` may have set the stand-ins' home in this shell.
  [[ $home != "$stand_in_home" ]] || home="$HOME/.pulumi"
  for name in command docker; do
    version=$(plugin_version "$name")
    [[ -d $home/plugins/resource-$name-v$version ]] ||
      PULUMI_HOME=$home PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=false \
        pulumi plugin install resource "$name" "v$version" || return 1
  done
}

stand_in_plugins() {
  local name version launcher folder
  launcher=$(mktemp "$tools/launcher.XXXXXX")
  for name in command docker; do
    version=$(plugin_version "$name")
    folder="$stand_in_home/plugins/resource-$name-v$version"
    write_launcher "$launcher" "$name"
    cmp -s "$launcher" "$folder/pulumi-resource-$name" ||
      PULUMI_HOME=$stand_in_home PULUMI_SKIP_UPDATE_CHECK=true \
        pulumi plugin install resource "$name" "$version" --file "$launcher" --reinstall
  done
  rm -f "$launcher"
}

# write_launcher FILE PLUGIN [ARGUMENT…]: a command that starts a stand-in from this checkout.
# `-I -S`: no user settings and no site module, which would double the start-up time.
write_launcher() {
  local file=$1 word
  local -a words=(
    "$root/.venv/bin/python" -I -S "$root/plugins/start.py" "$(site_packages)" "${@:2}"
  )
  {
    printf '#!/bin/sh\nexec'
    for word in "${words[@]}"; do printf " '%s'" "${word//\'/\'\\\'\'}"; done
    # shellcheck disable=SC2016 # for the launcher's shell
    printf ' "$@"\n'
  } >"$file.new"
  chmod 755 "$file.new"
  mv "$file.new" "$file"
}
