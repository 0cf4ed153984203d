# shellcheck shell=sh
# Ubuntu's pam_env reads /etc/default/locale; the node's sshd sets the same.
export LANG="${LANG:-C.UTF-8}"
