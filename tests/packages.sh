# shellcheck shell=bash disable=SC2034  # the lists are for the scripts that read this file
# What the scripts here need of Debian 12, and a function that installs what is missing of it.

build_packages=(gcc libc6-dev meson ninja-build pkg-config libpq-dev libevent-dev libconfig-dev libsystemd-dev)
unit_packages=(libcmocka-dev)
doc_packages=(scdoc)
server_packages=(postgresql-15)
pooler_packages=(libc-ares2)  # what pgbouncer, unpacked, needs beside what is there; its tests are skipped where it can't be had
test_packages=(python3 python3-pytest python3-psycopg python3-prometheus-client iproute2)
browser_packages=(chromium)  # the page's tests; skipped where it can't be had
system_packages=(systemd-container debhelper)
sqitch_packages=(sqitch libdbd-pg-perl postgresql-client)
java_packages=(openjdk-17-jre-headless)
npm_packages=(nodejs npm)

# install_packages PACKAGE...: returns 1, with the reason on stderr, when one is missing and can't be installed.
install_packages() {
  local missing=() package as_root=()

  if ! command -v dpkg-query >/dev/null; then
    echo "This needs Debian 12 or a relative; elsewhere, install by hand what stands for: $*" >&2
    return 1
  fi
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0

  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "Missing: ${missing[*]}. There is no sudo here; as root: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "Installing ${missing[*]} (Debian packages)"
  if ! apt_get update || ! apt_get install --no-install-recommends "${missing[@]}"; then
    echo "apt-get could not install: ${missing[*]}" >&2
    return 1
  fi
}

# unpack_package PACKAGE DIRECTORY: its files there, without installing it: prometheus and pgbouncer would start a service.
unpack_package() {
  [[ ! -d $2 ]] || return 0
  command -v apt-get >/dev/null || return 1
  mkdir -p "$2.new"
  (cd "$2.new" && apt-get -qq download "$1" >/dev/null 2>&1 && dpkg-deb -x ./*.deb . && rm ./*.deb) || { rm -rf "$2.new"; return 1; }
  mv "$2.new" "$2"
}

# Quiet unless it fails. Uses as_root of install_packages.
apt_get() {
  local output

  if ! output=$("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 "$@" 2>&1 </dev/null); then
    printf '%s\n' "$output" >&2
    return 1
  fi
}

# has_command COMMAND PACKAGE...: installs the packages unless the command is there, wherever it came from.
has_command() {
  command -v "$1" >/dev/null || install_packages "${@:2}"
}

# install_npm DIRECTORY PACKAGE...: npm packages, into a directory of their own; none of their scripts is run.
install_npm() {
  local output

  has_command npm "${npm_packages[@]}" || return 1
  mkdir -p "$1"
  if ! output=$(timeout 300 npm install --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error "${@:2}" 2>&1 </dev/null); then
    printf '%s\n' "$output" >&2
    return 1
  fi
}
