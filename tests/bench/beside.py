#!/usr/bin/env python3
"""Measures what a job is to others: the latency of an application on the same table, the lag of a standby. Judges nothing.

    BACKFILLD=build-test/daemon/backfilld python3 tests/bench/beside.py [pairs] [curve] [replay] [picture]

pairs    the application before and during a job with the defaults, in PAIRS (5) pairs, and how fast the job was
curve    its p99 against the job's speed, for batches of 1 to 100 ms and shares of the time; ROUNDS (1) rounds
replay   a job while the standby's replay is stopped in pulses: its lag, and how much of what the standby can replay is used
picture  draws rows/s, lag and p99 over time, with and without throttling, into README's tests/bench/beside.png

Without arguments pairs and replay. Needs Debian's postgresql-15, python3-psycopg, for the picture python3-matplotlib, and an
idle machine. The application: pgbench with CLIENTS (8) sessions at LOAD (40) percent of what it can do at most; one transaction reads
a row and writes it, keys uniform. Its latency counts from the moment at which a transaction was due. AUTOVACUUM=off: without vacuum, which
comes by chance, with or without a job, and which the application feels for as long as it lasts. SYNC_US=1000: the server's fdatasync
takes 1 ms longer, as on a volume over a network (slow_sync.c; needs gcc). A commit waits for one.
"""

import contextlib
import glob
import io
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

from cluster import Cluster  # noqa: E402
from daemon import config_text  # noqa: E402
from database import ENDED, Database, prepare  # noqa: E402
from standby import Standby  # noqa: E402
from waiting import let_pass, wait_until  # noqa: E402

ROWS = int(os.environ.get("ROWS", "1000000"))
PAIRS = int(os.environ.get("PAIRS", "5"))
ROUNDS = int(os.environ.get("ROUNDS", "1"))
CLIENTS = int(os.environ.get("CLIENTS", "8"))
THREADS = int(os.environ.get("THREADS", "1"))
LOAD = int(os.environ.get("LOAD", "40"))
SETTLE_S = 40  # the application is there for so long: the kernel keeps what is written for 30 s, then writes it out every 5
BEFORE_S = 20  # then it is measured, about as long as the job
SERVER = {"fsync": "on", "shared_buffers": "2GB", "max_wal_size": "8GB", "min_wal_size": "3GB", "checkpoint_timeout": "30min",
          "listen_addresses": "'127.0.0.1'", "wal_keep_size": "2GB", "autovacuum": os.environ.get("AUTOVACUUM", "on")}
WAL_FILES = 180  # that are there already when something is timed, as on a server that has run for a while
JOB = {"target": "orders", "set_clause": "amount_cents = (amount * 100)::bigint", "where_clause": "amount_cents IS NULL"}
UNTHROTTLED = {"max_lag_ms": 0, "max_lag_mb": 0, "max_blocked_ms": 0, "max_cpu_pressure": 0, "max_io_pressure": 0,
               "max_latency_ratio": 0, "max_disk_used": 0}
MAX_LAG_MS = 1000
SYNC_US = int(os.environ.get("SYNC_US", "0"))
PICTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "beside.png")


def as_on_another_host():
    """For Popen's preexec_fn: whoever sends the load never waits for this host's CPUs, where that is permitted (to root)."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def row(*values, widths=(34, 10)):
    print("  " + f"{values[0]:<{widths[0]}}" + "".join(f"{v:>{widths[1]}}" for v in values[1:]), flush=True)


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(len(values) * q))] if values else float("nan")


def load(db):
    db.app.execute("DROP TABLE IF EXISTS orders")
    db.app.execute("""CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL, amount numeric(12,2) NOT NULL,
                        created timestamptz NOT NULL, note text NOT NULL, amount_cents bigint)""")
    db.app.execute(f"""INSERT INTO orders (id, customer, amount, created, note)
                       SELECT i, 1 + i * 7919 % 100003, (i * 37 % 1000000) / 100.0, now(), repeat(md5(i::text), 4)
                         FROM generate_series(1::bigint, {ROWS}) AS i""")
    db.app.execute("VACUUM (FREEZE, ANALYZE) orders")
    db.admin.execute("CHECKPOINT")


def warm_up(db):
    """Else each new WAL file is filled with zeroes while everybody waits."""
    for _ in range(WAL_FILES):
        db.admin.execute("SELECT pg_logical_emit_message(false, 'x', 'y')")
        db.admin.execute("SELECT pg_switch_wal()")
    db.admin.execute("CHECKPOINT")


# ---- The application

class Application:
    def __init__(self, db):
        self.db = db
        self.directory = tempfile.TemporaryDirectory(prefix="bf-")
        self.script = f"{self.directory.name}/script.sql"
        with open(self.script, "w") as script:
            script.write(f"\\set id random(1, {ROWS})\n"
                         "SELECT customer, amount, note FROM orders WHERE id = :id;\n"
                         "UPDATE orders SET note = reverse(note) WHERE id = :id;\n")
        self.rate = None

    def start(self, *arguments):
        cluster = self.db.cluster
        return subprocess.Popen(
            [f"{cluster.binaries}/pgbench", "-h", cluster.directory, "-p", str(cluster.port), "-U", "app", "-n", "-M", "prepared",
             "-c", str(CLIENTS), "-j", str(THREADS), "-f", self.script, *arguments, self.db.name],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PGAPPNAME": "application"},
            preexec_fn=as_on_another_host)

    def calibrate(self):
        output = self.start("-T", "6").communicate()[0]
        most = float(output.split("tps = ")[1].split()[0])
        self.rate = int(most * LOAD / 100)
        print(f"the application can do {most:,.0f} transactions/s; from now on it does {self.rate:,}/s", flush=True)

    @contextlib.contextmanager
    def at_work(self):
        for file in glob.glob(f"{self.directory.name}/log.*"):
            os.unlink(file)
        process = self.start("-T", "600", "-R", str(self.rate), "--log", "--log-prefix", f"{self.directory.name}/log")
        let_pass(2)
        try:
            yield
        finally:  # pgbench writes its log to the end only when it is not killed, so its sessions are
            self.db.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'application'")
            process.communicate()

    def transactions(self):
        """(when it was due, ms from then to its end) of each."""
        found = []
        for file in glob.glob(f"{self.directory.name}/log.*"):
            with open(file) as log:
                for fields in map(str.split, log):
                    if len(fields) >= 6:
                        took_s = float(fields[2]) / 1e6
                        found.append((int(fields[4]) + int(fields[5]) / 1e6 - took_s, took_s * 1e3))
        return found


# ---- The job

@contextlib.contextmanager
def serving(db, conninfo=None, **groups):
    daemon = db.start(config=config_text([{"name": db.name, "conninfo": conninfo or db.conninfo()}], **groups))
    daemon.says("connected")
    try:
        yield daemon
    finally:
        daemon.terminate()


def run_job(db, watch=lambda: None):
    name = db.submit(**JOB)

    def ended():
        watch()
        return db.state(name) in ENDED
    wait_until(ended, 600, "the job ends", 0.2)
    job = db.job(name)
    assert job["state"] == "succeeded", job["error"]
    wrong = db.one("SELECT count(*) FROM orders WHERE amount_cents IS DISTINCT FROM (amount * 100)::bigint")
    assert wrong == 0, f"{wrong} rows are wrong"
    return job


def over(job):
    return job["started_at"].timestamp(), job["finished_at"].timestamp()


def speed_of(job):
    start, end = over(job)
    return ROWS / (end - start)


def flat_out(db):
    """Nobody else is there, and nothing slows it down."""
    load(db)
    with serving(db, throttle=UNTHROTTLED):
        return speed_of(run_job(db))


def before_and_during(db, application, conninfo=None, **groups):
    """Speed, the application's latencies before and during, the job."""
    load(db)
    with serving(db, conninfo, **groups), application.at_work():
        let_pass(SETTLE_S)
        start = time.time()
        let_pass(BEFORE_S)
        job = run_job(db)
        let_pass(0.5)
    transactions = application.transactions()
    first, last = over(job)
    before = [ms for due, ms in transactions if start <= due < start + BEFORE_S]
    during = [ms for due, ms in transactions if first <= due < last]
    return speed_of(job), before, during, job


def tcp(db):
    """Over the network the daemon sees nothing of the host: the same pace throughout."""
    return db.conninfo().replace(f"host={db.cluster.directory}", "host=127.0.0.1")


# ---- Parts

def pairs(db, application):
    print(f"\nPairs: {ROWS:,} rows, {LOAD} % load, the application's ms before and during, with the defaults\n")
    print("  Flat out, the job is alone and not throttled: measured before each pair, as the machine is not as quick all day.\n")
    row("", "p50", "", "p95", "", "p99", "", "p99 ratio", "rows/s", "flat out", "of that")
    ratios, shares = [], []
    for n in range(PAIRS):
        most = flat_out(db)
        speed, before, during, job = before_and_during(db, application)
        ratios.append(quantile(during, 0.99) / quantile(before, 0.99))
        shares.append(speed / most)
        row(f"pair {n + 1}", *(f"{quantile(v, q):.2f}" for q in (0.5, 0.95, 0.99) for v in (before, during)), f"{ratios[-1]:.2f}",
            f"{speed:,.0f}", f"{most:,.0f}", f"{shares[-1]:.2f}")
        row("", str(job["report"]["throttled_s"]), str(job["report"]["batch_ms"]), widths=(50, 80))
    row("median", *[""] * 6, f"{statistics.median(ratios):.2f}", "", "", f"{statistics.median(shares):.2f}")


def curve(db, application):
    print("\nCurve: the application's p99 before and during, by batch and share of the time; the pace is the same throughout\n")
    row("batch, share", "p95", "", "p99", "", "p99 ratio", "rows/s")
    targets = [int(t) for t in os.environ.get("TARGETS", "1,2,5,10,20,50,100").split(",")]
    shares = [float(s) for s in os.environ.get("SHARES", "0.33,0.5,1").split(",")]
    for target, share in list(itertools.product(targets, shares)) * ROUNDS:
        speed, before, during, _ = before_and_during(
            db, application, tcp(db), batch={"target_ms": target, "busy_target_ms": target, "busy_share": share},
            throttle={"max_latency_ratio": 0})
        row(f"{target} ms, {share}", *(f"{quantile(v, q):.2f}" for q in (0.95, 0.99) for v in (before, during)),
            f"{quantile(during, 0.99) / quantile(before, 0.99):.2f}", f"{speed:,.0f}")


class Pulses:
    """Stops a process for a share of each tenth of a second."""

    def __init__(self, pid, share):
        self.pid, self.share, self.ended = pid, share, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ended.is_set():
            os.kill(self.pid, signal.SIGSTOP)
            self.ended.wait(0.1 * self.share)
            os.kill(self.pid, signal.SIGCONT)
            self.ended.wait(0.1 * (1 - self.share))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


class Trace:
    """Twenty times a second: the time, the standby's lag in ms (by LSN echo) and MB, bytes replayed, keys done."""

    def __init__(self, db):
        self.db, self.ended, self.samples, self.echo = db, threading.Event(), [], []
        self.thread = threading.Thread(target=self.run)

    def run(self):
        with self.db.connect("postgres") as session:
            while not self.ended.wait(0.05):
                found = session.execute(
                    "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), pg_wal_lsn_diff(replay_lsn, '0/0'),"
                    " (SELECT sum(keys) FROM backfill.range WHERE job_id = (SELECT max(id) FROM backfill.job))"
                    " FROM pg_stat_replication").fetchone()
                if not found or found[1] is None:
                    continue
                now, (primary, replayed, keys) = time.time(), map(float, (found[0], found[1], found[2] or 0))
                self.echo.append((primary, now))
                late = next((at for lsn, at in self.echo if lsn > replayed), now)
                self.echo = [(lsn, at) for lsn, at in self.echo if at >= late - 1]
                self.samples.append((now, (now - late) * 1e3, (primary - replayed) / 1e6, replayed, keys))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def between(self, start, end):
        return [sample for sample in self.samples if start <= sample[0] <= end]


def replay_rate(samples):
    return (samples[-1][3] - samples[0][3]) / (samples[-1][0] - samples[0][0])


def caught_up(db):
    wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()"), 120,
               "the standby has caught up", 0.1)


def replay(db, _):
    db.admin.execute("ALTER SYSTEM SET autovacuum = off")  # what it writes comes by chance, and can't be held back
    db.admin.execute("SELECT pg_reload_conf()")
    print(f"\nReplay: the standby's startup process is stopped for a share of each 100 ms; max_lag_ms = {MAX_LAG_MS}\n")
    row("stopped for", "MB/s it can", "used", "lag, mean", "std", "most, ms")
    pid = db.cluster.standby.backend("startup")
    for share in (0.6, 0.8, 0.9):
        load(db)
        caught_up(db)
        with serving(db, throttle=UNTHROTTLED), Trace(db) as trace, Pulses(pid, share):
            start, end = over(run_job(db))
            can = replay_rate(trace.between(start + (end - start) * 0.3, end))
        load(db)
        caught_up(db)
        with serving(db, throttle={"max_lag_ms": MAX_LAG_MS}), Trace(db) as trace, Pulses(pid, share):
            start, end = over(run_job(db))
        settled = trace.between(start + 4, end)
        lags = [sample[1] for sample in settled]
        row(f"{share:.0%}", f"{can / 1e6:.1f}", f"{replay_rate(settled) / can:.2f}", f"{statistics.mean(lags):.0f}",
            f"{statistics.pstdev(lags):.0f}", f"{max(sample[1] for sample in trace.between(start, end)):.0f}")


def per_second(samples, start, end, step=0.5):
    """(seconds since start, keys/s) from a trace."""
    found = []
    for t in [start + i * step for i in range(int((end - start) / step))]:
        within = [s for s in samples if t <= s[0] <= t + step]
        if len(within) > 1 and within[-1][0] > within[0][0]:
            found.append((t - start + step / 2, max(0, within[-1][4] - within[0][4]) / (within[-1][0] - within[0][0])))
    return found


def p99_over_time(transactions, start, end, step=0.5):
    found = []
    for t in [start + i * step for i in range(int((end - start) / step))]:
        within = [ms for due, ms in transactions if t <= due < t + step]
        if within:
            found.append((t - start + step / 2, quantile(within, 0.99)))
    return found


def picture(db, application):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    tail_s = 6
    pid = db.cluster.standby.backend("startup")
    figure, axes = pyplot.subplots(3, 2, figsize=(11, 7), sharex="col", sharey="row", layout="constrained")
    ways = [("with the defaults", {}), ("without throttling", {"batch": {"target_ms": 100}, "throttle": UNTHROTTLED})]
    for column, (title, groups) in enumerate(ways):
        load(db)
        caught_up(db)
        with serving(db, **groups), Trace(db) as trace, application.at_work(), Pulses(pid, 0.6):
            let_pass(SETTLE_S)
            start = time.time()
            let_pass(BEFORE_S)
            job = run_job(db)
            let_pass(tail_s)
            end = time.time()
        caught_up(db)
        first, last = over(job)
        shift = first - start
        keys = [(s[0], 0, 0, 0, s[4] if first <= s[0] <= last else 0 if s[0] < first else float(ROWS)) for s in trace.samples]
        rows, lag, p99 = axes[:, column]
        rows.plot(*zip(*[(t - shift, v / 1e3) for t, v in per_second(keys, start, end)]), color="#1b6ca8")
        lag.plot([s[0] - first for s in trace.samples if start <= s[0] <= end],
                 [max(1, s[1]) for s in trace.samples if start <= s[0] <= end], color="#b5541c")
        lag.axhline(MAX_LAG_MS, color="grey", linestyle=":", linewidth=1)
        p99.plot(*zip(*[(t - shift, v) for t, v in p99_over_time(application.transactions(), start, end)]), color="#4a7c2c")
        rows.set_title(f"{title}: {ROWS / (last - first):,.0f} rows/s")
        for axis in axes[:, column]:
            axis.axvspan(0, last - first, color="#eeeeee", zorder=0)
            axis.grid(alpha=0.3)
        lag.set_yscale("log")
        p99.set_yscale("log")
        p99.set_xlabel("seconds since the job began (grey: while it ran)")
    for axis, label in zip(axes[:, 0], ("thousand rows/s", "standby's lag, ms", "application's p99, ms")):
        axis.set_ylabel(label)
    figure.savefig(PICTURE, dpi=90)
    print(f"{PICTURE} is drawn", flush=True)


@contextlib.contextmanager
def slow_sync():
    """For what is started meanwhile."""
    with tempfile.TemporaryDirectory(prefix="bf-") as directory:
        os.chmod(directory, 0o755)
        library = f"{directory}/slow_sync.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, f"{os.path.dirname(os.path.abspath(__file__))}/slow_sync.c", "-ldl"],
                       check=True)
        os.environ["LD_PRELOAD"] = library
        try:
            yield
        finally:
            del os.environ["LD_PRELOAD"]


def main():
    parts = {"pairs": pairs, "curve": curve, "replay": replay, "picture": picture}
    wanted = sys.argv[1:] or ["pairs", "replay"]
    unknown = [part for part in wanted if part not in parts]
    if unknown:
        sys.exit(f"{__doc__}\nbeside: no such part: {', '.join(unknown)}")
    with slow_sync() if SYNC_US else contextlib.nullcontext():
        cluster = Cluster(**SERVER)
    cluster.standby = None
    try:
        prepare(cluster)
        db = Database(cluster)
        print(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, server with "
              + ", ".join(f"{name} = {value}" for name, value in SERVER.items())
              + (f"; its fdatasync takes {SYNC_US} us longer" if SYNC_US else ""))
        load(db)
        warm_up(db)
        application = Application(db)
        if set(wanted) & {"pairs", "curve", "picture"}:
            application.calibrate()
        for part in sorted(wanted, key=list(parts).index):
            if part in ("replay", "picture") and not cluster.standby:
                cluster.standby = Standby(cluster, "standby")
                wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"),
                           what="the standby streams")
            parts[part](db, application)
        print(f"\n{time.strftime('%H:%M')}, load {os.getloadavg()[0]:.2f}")
        with contextlib.redirect_stdout(io.StringIO()):  # it shows its daemons' logs
            db.destroy()
    finally:
        if cluster.standby:
            cluster.standby.destroy()
        cluster.destroy()


if __name__ == "__main__":
    main()
