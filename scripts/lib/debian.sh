# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables shared with scripts/setup and its other parts
# Debian and Ubuntu packages, without starting a single service. Sourced.

lab_packages=(
  docker.io docker-registry openssh-server openssh-client debootstrap tini iproute2 iptables sudo
  openssl rsync procps util-linux iputils-ping shellcheck
  busybox-static netplan.io ufw locales tmux
  gcc libc6-dev libseccomp-dev pkg-config # runc and NVIDIA's runtime are built with them
  chromium chromium-driver fonts-dejavu-core # the benchmark report is looked at in a browser
)
# Units that those packages switch on; the lab starts its own, this machine needs none.
package_units=(
  docker.service docker.socket containerd.service docker-registry.service ssh.service ufw.service
)
policy=/usr/sbin/policy-rc.d
policy_state=untouched

as_root() {
  if ((EUID == 0)); then "$@"; else sudo -- "$@"; fi
}

# The packages of the arguments that are not installed, one a line.
missing_packages() {
  local package
  for package; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      echo "$package"
  done
}

# Installs the packages given; waits while another apt or dpkg works.
install_packages() {
  local -a wanted
  mapfile -t wanted < <(missing_packages "$@")
  ((${#wanted[@]})) || return 0
  services_deny_start
  apt_install "${wanted[@]}" || { apt_update && apt_install "${wanted[@]}"; }
  services_allow_start
  disable_units_of "${wanted[@]}"
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=900 \
    install --yes --no-install-recommends "$@"
}

# The lock of the package lists knows no time-out: try again for five minutes.
apt_update() {
  local attempt
  for attempt in {1..60}; do
    as_root apt-get update && return
    echo "apt-get update: attempt $attempt failed"
    sleep 5
  done
  return 1
}

# Debian asks policy-rc.d before a package may start its service; 101 is "no".
services_deny_start() {
  if [[ -x $policy ]]; then
    "$policy" any start || [[ $? != 101 ]] || return 0
    as_root mv "$policy" "$policy.before-setup"
    policy_state=moved
  else
    policy_state=created
  fi
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
}

services_allow_start() {
  case $policy_state in
    created) as_root rm -f "$policy" ;;
    moved) as_root mv "$policy.before-setup" "$policy" ;;
  esac
  policy_state=untouched
}

# Only units that came with a package we have just installed: an ssh server or Docker that was
# here before is not ours to switch off.
disable_units_of() {
  local unit owner package
  command -v systemctl >/dev/null || return 0
  for unit in "${package_units[@]}"; do
    owner=$(dpkg-query -S "*/systemd/system/$unit" 2>/dev/null | head -n 1) || continue
    for package; do
      [[ ${owner%%:*} != "$package" ]] || as_root systemctl disable "$unit" || true
    done
  done
}

step_lab_packages() {
  local -a wanted
  mapfile -t wanted < <(missing_packages "${lab_packages[@]}")
  install_packages "${lab_packages[@]}"
  step_result="${#lab_packages[@]} there"
  ((${#wanted[@]} == 0)) || step_result+=", ${#wanted[@]} of them new; no service was started"
}
