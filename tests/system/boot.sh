#!/usr/bin/env bash
# boot.sh DIRECTORY BUILD: this machine's own / with a layer of memory over it, the program installed into that, booted with
# systemd-nspawn. Everything is mounted in a mount namespace of its own: it is gone when the last process is.
#
#   unshare --mount --pid --fork --kill-child --mount-proc tests/system/boot.sh DIRECTORY BUILD
set -euo pipefail

directory=$1 build=$2
root=$directory/root

mount -t tmpfs -o mode=755 tmpfs "$directory"
mkdir "$directory"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$root"

systemd-id128 new >"$root/etc/machine-id"
rm -rf "$root"/var/log/journal "$root"/etc/postgresql/* "$root"/etc/backfilld  # this machine's clusters may be running
meson install -C "$build" --no-rebuild --quiet --destdir "$root"

exec systemd-nspawn --quiet --register=no --keep-unit --private-network --link-journal=no --console=pipe \
  --directory="$root" --boot systemd.unit=basic.target
