#!/bin/bash
# First process of a node: builds its view of files and devices, then becomes its service manager.
#   init.sh FOLDER, with
#   GROUP_FILES: the cgroup.procs files of the node's control group, one per line
#   HIERARCHIES: lines "FOLDER:OPTIONS", the host's control group mounts ("" and "" for cgroup v2)
# FOLDER holds disk/ (what differs from the host's files, survives a power cut) and docker/.
set -euo pipefail
folder=$1

# The control group it is in now becomes the root of what the node sees.
if [[ -n ${GROUP_FILES-} ]]; then
  for file in $GROUP_FILES; do
    echo 0 >"$file"
  done
  exec env -u GROUP_FILES unshare --cgroup bash "$0" "$@"
fi

# The host's system, copy on write. Opaque folders on the disk hide what a Spark does not have.
# Relative names: a comma or colon in the checkout's path would end an option.
cd "$folder"
mkdir -p work root docker containerd programs
mount -t overlay overlay -o lowerdir=/,upperdir=disk,workdir=work root
cd root

mount -t proc proc proc
# What a Spark's kernel says of itself, as far as anybody reads it from files.
while read -r file; do
  mount --bind "etc/lab/proc/$file" "proc/$file"
done < <(cd etc/lab/proc && find . -type f)
# A sysfs mounted in this network namespace shows the node's interfaces and no others.
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
# Docker's own overlays need a plain file system below them.
mkdir -p var/lib/docker var/lib/containerd
mount --bind "$folder/docker" var/lib/docker
mount --bind "$folder/containerd" var/lib/containerd
# Programs of the cache in place of the system's: links, by their path in a node.
while read -r file; do
  mkdir -p "${file%/*}"
  [[ -e $file ]] || : >"$file"
  mount --bind "$(readlink -f "$folder/programs/$file")" "$file"
  mount -o remount,bind,ro "$file"
done < <(cd "$folder/programs" && find . -type l)

mount_cgroups() {
  local hierarchy options
  if [[ $HIERARCHIES == : ]]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    # A group with processes of its own cannot hand controllers on: move into a leaf first.
    mkdir -p sys/fs/cgroup/init.scope
    echo $$ >sys/fs/cgroup/init.scope/cgroup.procs
    sed 's/\</+/g' sys/fs/cgroup/cgroup.controllers >sys/fs/cgroup/cgroup.subtree_control
    return
  fi
  mount -t tmpfs -o mode=0755 tmpfs sys/fs/cgroup
  while IFS=: read -r hierarchy options; do
    mkdir "sys/fs/cgroup/$hierarchy"
    if [[ -z $options ]]; then
      mount -t cgroup2 cgroup2 "sys/fs/cgroup/$hierarchy"
    else
      mount -t cgroup -o "$options" cgroup "sys/fs/cgroup/$hierarchy"
    fi
  done <<<"$HIERARCHIES"
}
mount_cgroups

# The kernel has no folder for RDMA devices here: a writable layer over sysfs takes ours.
mkdir -p run/lab/sysfs/upper run/lab/sysfs/work
mount -t overlay -o lowerdir=sys/class,upperdir=run/lab/sysfs/upper,workdir=run/lab/sysfs/work \
  overlay sys/class

# Not the host's devtmpfs: what is made here must not appear there.
mount -t tmpfs -o mode=0755 tmpfs dev
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t mqueue mqueue dev/mqueue
make_device() {
  [[ $1 != */* ]] || mkdir -p "dev/${1%/*}"
  mknod -m "$4" "dev/$1" c "$2" "$3"
}
while read -r device major minor mode; do
  make_device "$device" "$major" "$minor" "$mode"
done <<'DEVICES'
null 1 3 666
zero 1 5 666
full 1 7 666
random 1 8 666
urandom 1 9 666
kmsg 1 11 644
tty 5 0 666
fuse 10 229 666
net/tun 10 200 666
DEVICES
# A GPU's and an HCA's own device numbers have no driver here. These open, and are not among those
# that Docker allows to every container.
while read -r device major minor; do
  make_device "$device" "$major" "$minor" 666
done <etc/lab/devices
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr

mkdir -p run/sshd run/lock .host
pivot_root . .host
cd /
umount -l /.host
rmdir /.host
hostname "$(cat etc/hostname)"

exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
  tini -s -- /usr/lib/lab/service-manager
