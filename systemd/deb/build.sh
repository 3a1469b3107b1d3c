#!/usr/bin/env bash
# build.sh [DIRECTORY]: builds a Debian package of this tree into a directory (build-deb), and prints its path.
# Needs the packages debhelper and those of README.md, Install. Whose package it is: DEBFULLNAME and DEBEMAIL, else who has made the last commit.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$(mkdir -p "${1:-$root/build-deb}" && cd "${1:-$root/build-deb}" && pwd)
version=$(sed -n "s/^  version : '\(.*\)',/\1/p" "$root/meson.build")
last() { git -C "$root" log -1 --format="$1" 2>/dev/null || true; }
name=${DEBFULLNAME:-$(last %an)} email=${DEBEMAIL:-$(last %ae)} date=$(last %aD)
who="${name:-root} <${email:-root@localhost}>"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source=$work/backfilld-$version
mkdir "$source"
tar -C "$root" --exclude='./build*' --exclude=./.git -cf - . | tar -C "$source" -xf -
cp -r "$root/systemd/deb/debian" "$source/debian"
sed -i "s/@MAINTAINER@/$who/" "$source/debian/control"
cat >"$source/debian/changelog" <<END
backfilld ($version-1) unstable; urgency=medium

  * What has changed: /usr/share/doc/backfilld/changelog.gz.

 -- $who  ${date:-$(date -R)}
END
(cd "$source" && dpkg-buildpackage --build=binary --no-sign) >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
mv "$work"/backfilld_*.deb "$out"
ls "$out/backfilld_$version"-1_*.deb
