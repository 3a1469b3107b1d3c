#!/usr/bin/env bash
# Fills a column of a table of 300,000 rows while an application works on that table, old and new code of it side by side, and shows what
# both felt.
# Needs Debian 12 and nothing else, as root or as a user with sudo. What it starts, it ends; what it writes, it removes:
# all but the packages and the build directory (BUILD, default build).
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${BUILD:-$repo/build}
rows=300000
clients=8          # of the application
new_rate=20        # transactions/s of its new code, which writes the new column alone
load_percent=30    # of what the application could do at most
calibrate_s=5
settle_s=40        # the kernel keeps what is written for 30 s, then writes it out every 5: until that has begun
before_s=15
job_at_most_s=180
disk_mb=2500
primary_port=5501  # no port of the network: each names a socket in $dir
standby_port=5502
bin=/usr/lib/postgresql/15/bin
dir=
new_application_pid=

# shellcheck source=tests/packages.sh
. "$repo/tests/packages.sh"
export LC_ALL=C PATH="$bin:$PATH"
unset "${!PG@}"    # nothing of the caller's own connections

# ---- Small things ----

say() {
  printf '%3d s  %s\n' "$SECONDS" "$*"
}

fail() {
  echo "demo: $*" >&2
  exit 1
}

# Runs a command quietly; shows what it wrote when it fails.
quietly() {
  "$@" >"$dir/output" 2>&1 || { cat "$dir/output" >&2; fail "this failed: $*"; }
}

# PostgreSQL refuses to run as root.
as_server() {
  if ((EUID == 0)); then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

# sql ROLE [PSQL OPTION]...: values only, on the primary.
sql() {
  psql -X -qAt -v ON_ERROR_STOP=1 -h "$dir" -p "$primary_port" -d shop -U "$@"
}

group_digits() {
  sed -E ':again; s/([0-9])([0-9]{3})($|,)/\1,\2\3/; t again' <<<"$1"
}

cleanup() {
  local status=$? pid server

  trap '' HUP INT TERM
  set +e
  for pid in $(jobs -pr); do kill "$pid" 2>/dev/null; done
  wait
  for server in standby primary; do
    [[ -f $dir/$server/postmaster.pid ]] && as_server "$bin/pg_ctl" -D "$dir/$server" -m immediate stop >/dev/null
  done
  [[ -n $dir ]] && rm -rf "$dir"
  exit "$status"
}

# ---- The servers and their table ----

make_dir() {
  dir=$(mktemp -d "${TMPDIR:-/tmp}/backfilld-demo.XXXXXX")
  local free_mb
  free_mb=$(df --output=avail -m "$dir" | tail -1)
  ((free_mb >= disk_mb)) || fail "$dir has $free_mb MB free; this needs $disk_mb. Set TMPDIR to another place."
  ((EUID != 0)) || chown postgres: "$dir"
}

start_server() {
  as_server "$bin/pg_ctl" -D "$dir/$1" -l "$dir/$1.log" -o "-p $2" -w start >/dev/null || { tail -5 "$dir/$1.log" >&2; return 1; }
}

start_primary() {
  quietly as_server "$bin/initdb" -D "$dir/primary" -U postgres -A trust -E UTF8 --locale C.UTF-8 --no-sync
  cat >>"$dir/primary/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$dir'
shared_buffers = 256MB
max_wal_size = 2GB
cluster_name = 'backfilld demo'
END
  start_server primary "$primary_port"
}

start_standby() {
  quietly as_server "$bin/pg_basebackup" -h "$dir" -p "$primary_port" -U postgres -D "$dir/standby" -R -C -S standby -c fast --no-sync
  start_server standby "$standby_port"
}

# The daemon is no superuser. Authentication is "trust", so it can log in as the role that submits the job, which it must.
create_roles() {
  psql -X -q -v ON_ERROR_STOP=1 -h "$dir" -p "$primary_port" -d postgres -U postgres <<'END'
CREATE ROLE backfilld LOGIN IN ROLE pg_monitor, pg_signal_backend;
CREATE ROLE backfill_submitter NOLOGIN;
CREATE ROLE app LOGIN IN ROLE backfill_submitter;
CREATE DATABASE shop OWNER app;
GRANT CREATE ON DATABASE shop TO backfilld;
END
}

load_table() {
  sql app -v rows="$rows" <<'END'
CREATE TABLE orders (
  id           bigint PRIMARY KEY,
  customer     bigint NOT NULL,
  amount       numeric(12,2) NOT NULL,
  created      timestamptz NOT NULL,
  note         text NOT NULL
);
INSERT INTO orders (id, customer, amount, created, note)
SELECT i, 1 + i * 7919 % 100003, (i * 37 % 1000000) / 100.0, now() - i * interval '1 s', repeat(md5(i::text), 4)
  FROM generate_series(1::bigint, :rows) AS i;
END
  sql postgres -c 'VACUUM (ANALYZE) orders' -c CHECKPOINT
}

# ---- The application ----

# A transaction reads an order and writes its amount: the old code by the old column alone, the new code by the new one. What becomes of the
# other one is the job's affair.
write_application() {
  cat >"$dir/application.sql" <<END
\\set id random(1, $rows)
SELECT customer, amount, note FROM orders WHERE id = :id;
UPDATE orders SET amount = amount + 0.01 WHERE id = :id;
END
  cat >"$dir/new_application.sql" <<END
\\set id random(1, $rows)
\\set cents random(100, 1000000)
SELECT customer, amount_cents, note FROM orders WHERE id = :id;
UPDATE orders SET amount_cents = :cents WHERE id = :id;
END
}

application() {
  PGAPPNAME=application pgbench -h "$dir" -p "$primary_port" -U app -n -M prepared -c "$clients" -f "$dir/application.sql" "$@" shop
}

# The next release of it goes live as soon as its column is there.
start_new_application() {
  PGAPPNAME=application pgbench -h "$dir" -p "$primary_port" -U app -n -M prepared -c 2 -f "$dir/new_application.sql" -T 600 -R "$new_rate" \
    --log --log-prefix "$dir/new" shop >"$dir/new_application.log" 2>&1 &
  new_application_pid=$!
}

# Sets rate: transactions a second.
calibrate() {
  local most

  application -T "$calibrate_s" >"$dir/output" 2>&1 || { cat "$dir/output" >&2; fail "the application does not run"; }
  most=$(sed -nE 's/^tps = ([0-9]+).*/\1/p' "$dir/output")
  rate=$((most * load_percent / 100))
  ((rate > 0)) || fail "the application does $most transactions/s here; too few to measure"
  say "It can do $(group_digits "$most") transactions/s. From now on it does $load_percent % of that: $(group_digits "$rate")/s."
}

start_application() {
  application -T 600 -R "$rate" --log --log-prefix "$dir/latency" >"$dir/application.log" 2>&1 &
  application_pid=$!
}

# pgbench writes its log to the end only when it is not killed, so its sessions are.
stop_application() {
  sql postgres -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'application'" >/dev/null
  wait "$application_pid" || true
  wait "$new_application_pid" || true
  grep -h 'ERROR:  ' "$dir/application.log" "$dir/new_application.log" && fail "a statement of the application failed" || true
}

# latency FROM TO: of the transactions that were due then (seconds since 1970): how many, p50, p95, p99 in ms. pgbench
# logs when each ended, and how long after it was due.
latency() {
  awk -v from="$1" -v to="$2" '{ due = $5 + $6 / 1e6 - $3 / 1e6 } due >= from && due < to { print $3 / 1e3 }' "$dir"/latency.* | sort -n |
    awk 'function at(q) { i = int(NR * q + 0.999999); return v[i < 1 ? 1 : i] }
         { v[NR] = $1 } END { printf "%d %.1f %.1f %.1f\n", NR, at(0.5), at(0.95), at(0.99) }'
}

# Ten times a second: seconds since 1970, bytes and ms that the standby is behind.
watch_standby() {
  sql postgres >"$dir/lag" 2>/dev/null <<'END' &
SELECT extract(epoch FROM clock_timestamp()), pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn),
       coalesce(extract(epoch FROM replay_lag) * 1000, 0) FROM pg_stat_replication \watch 0.1
END
}

greatest_lag() {
  awk -F '|' -v from="$1" -v to="$2" 'NF == 3 && $1 >= from && $1 <= to { if ($2 > b) b = $2; if ($3 > ms) ms = $3 }
       END { printf "%.1f / %.0f", b / 1e6, ms }' "$dir/lag"
}

# ---- The job ----

start_backfilld() {
  local conninfo="host=$dir port=$primary_port dbname=shop user=backfilld"

  quietly "$build/daemon/backfilld" -d "$conninfo" --install
  "$build/daemon/backfilld" -d "$conninfo" &
  daemon_pid=$!
}

insert_job() {
  local insert="INSERT INTO backfill.job (name, target, add_column, set_clause, keep_in_sync, sync_back, enforce)
VALUES ('cents', 'orders', 'amount_cents bigint', 'amount_cents = (amount * 100)::bigint', true, 'amount = amount_cents / 100.0', '{NOT NULL amount_cents}')"

  printf '         %s\n' "${insert//$'\n'/$'\n'         }"
  sql app -c "$insert"
}

# On a terminal the daemon draws a bar itself.
wait_for_job() {
  local state phase line until=$((SECONDS + job_at_most_s))

  while IFS='|' read -r state phase < <(sql app -c "SELECT state, phase FROM backfill.job WHERE name = 'cents'"); [[ $state == queued || $state == running ]]; do
    if [[ $phase == backfill && -z $new_application_pid ]]; then
      say "The column and its trigger are there: starting the application's new code, which writes the new column alone"
      start_new_application
    fi
    kill -0 "$daemon_pid" 2>/dev/null || fail "backfilld has ended"
    ((SECONDS < until)) || fail "the job takes longer than $job_at_most_s s: $(sql app -c "SELECT throttled_by FROM backfill.status WHERE name = 'cents'"). It makes way for what else this machine does."
    if [[ -t 2 ]]; then sleep 0.2; continue; fi
    line=$(sql app -c "SELECT concat_ws('  ', phase, bar, percent || ' %', rows || ' rows', rows_per_s || ' rows/s', throttled_by)
                         FROM backfill.status WHERE name = 'cents' AND percent > 0")
    [[ -z $line ]] || say "$line"
    sleep 1
  done
  [[ $state == succeeded ]] || fail "the job $state: $(sql app -c "SELECT error, hint FROM backfill.job WHERE name = 'cents'")"
}

line() {
  printf '  %-38s %12s' "$1" "$2"
  (($# == 2)) || printf '%12s' "${@:3}"
  echo
}

show_result() {
  local n_rows seconds per_s batches p50 p99 started finished wrong b d

  IFS='|' read -r n_rows seconds per_s batches p50 p99 started finished < <(sql app -c "
    SELECT report->'rows', report->'seconds', round((report->'rows')::numeric / (report->'seconds')::numeric), report->'batches',
           report->'batch_ms'->'p50', report->'batch_ms'->'p99', extract(epoch FROM started_at), extract(epoch FROM finished_at)
      FROM backfill.job WHERE name = 'cents'")
  wrong=$(sql app -v rows="$rows" <<<'SELECT abs(count(*) - :rows)
    + count(*) FILTER (WHERE amount_cents IS DISTINCT FROM (amount * 100)::bigint) FROM orders')
  read -ra b < <(latency "$before_from" "$before_to")
  read -ra d < <(latency "$started" "$finished")

  echo
  line 'rows' "$(group_digits "$n_rows")"
  line 'seconds' "$seconds"
  line 'rows/s' "$(group_digits "$per_s")"
  line 'batches' "$(group_digits "$batches")"
  line 'a batch, p50 / p99 (ms)' "$p50 / $p99"
  line 'greatest lag of the standby (MB / ms)' "$(greatest_lag "$started" "$finished")"
  line 'rows wrong, of all compared' "$wrong"
  line 'amount_cents' 'NOT NULL'
  line 'written by the new code, orders' "$(group_digits "$(cat "$dir"/new.* | wc -l)")"
  echo
  line 'the application' before during
  line 'transactions' "$(group_digits "${b[0]}")" "$(group_digits "${d[0]}")"
  line 'latency p50 (ms)' "${b[1]}" "${d[1]}"
  line '        p95' "${b[2]}" "${d[2]}"
  line '        p99' "${b[3]}" "${d[3]}"
  echo
  echo "  Latency counts from the moment at which a transaction was due: waiting for a free session is in it."
  echo "  The standby and the application share this machine's $(nproc) cores with the primary."
  [[ $wrong == 0 ]] || fail "$wrong rows are wrong"
  [[ $(sql app -c "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'amount_cents'") == t ]] ||
    fail "amount_cents is not NOT NULL"
}

main() {
  trap cleanup EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM

  install_packages "${build_packages[@]}" "${server_packages[@]}" || exit 1
  make_dir
  say "Building backfilld in $build"
  [[ -f $build/build.ninja ]] || quietly meson setup "$build" "$repo"
  quietly ninja -C "$build"

  say "Starting a PostgreSQL primary in $dir, and loading $(group_digits "$rows") orders"
  start_primary
  create_roles
  load_table
  say "Starting a streaming standby"
  start_standby

  say "Starting the application: $clients sessions that read an order and write its amount"
  write_application
  calibrate
  start_application
  say "Letting it run for $settle_s s, as it would have long since"
  sleep "$settle_s"
  say "Measuring it for $before_s s without a backfill"
  before_from=$(date +%s.%N)
  sleep "$before_s"
  before_to=$(date +%s.%N)

  say "Starting backfilld (role backfilld: no superuser), and inserting a job as role app:"
  watch_standby
  start_backfilld
  insert_job
  wait_for_job
  sleep 1
  stop_application
  kill "$daemon_pid"
  wait "$daemon_pid" || fail "backfilld ended with status $?"
  say "Comparing every row"
  show_result
}

main "$@"
