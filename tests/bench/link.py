#!/usr/bin/env python3
"""Measures a job whose standby is behind a slow link: the standby's lag, and how much of the link is used. Judges nothing.

    BACKFILLD=build-test/daemon/backfilld python3 tests/bench/link.py [MB/s]...

Default 5, 10 and 20 MB/s. Primary and standby are in network namespaces of their own, joined by a veth pair; what the
primary sends is limited by tc's tbf, and nobody else's traffic is touched. For each rate two jobs: without throttling, which tells
what the link can carry, until the standby has caught up; and with the defaults, but for the signals of the host. Lag is by LSN echo
of what the standby has replayed: what waits in the sender's socket and in the link counts as late. Mean and deviation are from
the 4th second of the job on; "a batch" is how many ms the link needs for the WAL of one. The namespaces end with this script,
however it ends. Needs root, and what beside.py needs.
"""

import contextlib
import io
import os
import signal
import statistics
import sys
import time

import beside  # finds the tests' helpers
from cluster import Cluster  # noqa: E402
from daemon import HOST_OFF  # noqa: E402
from database import Database, prepare  # noqa: E402
from network import NEAR, Link, why_not  # noqa: E402
from standby import Standby  # noqa: E402
from waiting import wait_until  # noqa: E402

ROWS_FOR_A_MB_PER_S = int(os.environ.get("ROWS_FOR_A_MB_PER_S", "50000"))  # half a minute's, or so
SERVER = {**beside.SERVER, "listen_addresses": "'*'", "autovacuum": "off"}  # its WAL comes by chance, and can't be held back


def run(db, link, rate, throttle):
    """A job beside a trace: the trace, when it began, when it ended, when the standby had caught up."""
    link.limit(1000)
    beside.load(db)
    beside.caught_up(db)
    link.limit(rate)
    with beside.serving(db, throttle=throttle), beside.Trace(db) as trace:
        start, end = beside.over(beside.run_job(db))
        beside.caught_up(db)
        return trace, start, end, time.time()


def measure(db, link, rate):
    beside.ROWS = int(rate * ROWS_FOR_A_MB_PER_S)
    trace, start, _, caught_up = run(db, link, rate, beside.UNTHROTTLED)
    can = beside.replay_rate(trace.between(start + 1, caught_up - 0.5))
    trace, start, end, _ = run(db, link, rate, {**HOST_OFF, "max_lag_ms": beside.MAX_LAG_MS})
    batch = float(db.one("SELECT sum(wal_bytes) / sum(batches) FROM backfill.range WHERE job_id = (SELECT max(id) FROM backfill.job)"))
    settled = trace.between(start + 4, end)
    lags = [sample[1] for sample in settled]
    beside.row(f"{rate:g} MB/s", f"{can / 1e6:.2f}", f"{beside.replay_rate(settled) / can:.2f}", f"{end - start:.1f}",
               f"{statistics.mean(lags):.0f}", f"{statistics.pstdev(lags):.0f}", f"{max(s[1] for s in trace.between(start, end)):.0f}",
               f"{max(s[2] for s in trace.between(start, end)):.1f}", f"{batch / can * 1e3:.0f}")


def main():
    if why_not():
        sys.exit(f"link: {why_not()}")
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, signal.default_int_handler)  # nothing is left behind
    rates = [float(rate) for rate in sys.argv[1:]] or [5, 10, 20]
    with contextlib.ExitStack() as stack:
        link = Link()
        stack.callback(link.destroy)
        with link.near.inside():
            cluster = Cluster(**SERVER)
        stack.callback(cluster.destroy)
        with open(f"{cluster.data}/pg_hba.conf", "a") as hba:
            hba.write("host replication all samenet trust\n")
        prepare(cluster)
        with cluster.connect() as admin:
            admin.execute("SELECT pg_reload_conf()")
        db = Database(cluster)
        beside.load(db)
        beside.warm_up(db)
        with link.far.inside():
            standby = Standby(cluster, "far", host=NEAR)
        stack.callback(standby.destroy)
        wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_replication WHERE client_addr IS NOT NULL AND state = 'streaming'"),
                   what="the standby streams over the link")
        print(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}; a standby behind a slow link,"
              f" max_lag_ms = {beside.MAX_LAG_MS}\n")
        beside.row("the link", "it can", "used", "seconds", "lag, mean", "std", "most, ms", "most, MB", "a batch")
        for rate in rates:
            measure(db, link, rate)
        with contextlib.redirect_stdout(io.StringIO()):  # it shows its daemons' logs
            db.destroy()


if __name__ == "__main__":
    main()
