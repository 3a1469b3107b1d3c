#!/usr/bin/env python3
"""Measures backfilld against one big UPDATE, and what it costs itself; prints tables, judges nothing.

    BACKFILLD=build-test/daemon/backfilld python3 tests/bench/bench.py [speed] [workers] [growth] [start] [sync]

Without arguments all five: twelve minutes. Needs Debian's postgresql-15 and python3-psycopg, and an idle machine.
"""

import asyncio
import contextlib
import io
import os
import platform
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

from cluster import Cluster  # noqa: E402
from daemon import HOST_OFF, config_text  # noqa: E402
from database import ENDED, Database, prepare  # noqa: E402
from waiting import wait_until  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SPEED_ROWS = 2_000_000
GROWTH_ROWS = 5_000_000
GROWTH_ROUNDS = 4
START_JOBS = 50
SYNC_ROWS = 300_000
TARGET_MS = 20
MEMORY_MB = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
# No checkpoint while something is timed: each run starts with one. No autovacuum: which run it hits is chance.
SERVER = {"fsync": "on", "shared_buffers": f"{min(4096, MEMORY_MB // 4)}MB", "max_wal_size": "16GB", "checkpoint_timeout": "30min",
          "autovacuum": "off"}
SET = "amount_cents = (amount * 100)::bigint"
WHERE = "amount_cents IS NULL"


# ---- What is measured on

def load(db, rows):
    """A fresh table, about 180 bytes a row with its header."""
    db.app.execute("DROP TABLE IF EXISTS orders CASCADE")  # and what a trigger has left of it
    db.app.execute("""CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL, amount numeric(12,2) NOT NULL,
                        created timestamptz NOT NULL, note text NOT NULL, amount_cents bigint)""")
    db.app.execute(f"""INSERT INTO orders (id, customer, amount, created, note)
                       SELECT i, 1 + i * 7919 % 100003, (i * 37 % 1000000) / 100.0, now(), repeat(md5(i::text), 4)
                         FROM generate_series(1::bigint, {rows}) AS i""")
    db.app.execute("VACUUM (FREEZE, ANALYZE) orders")
    db.admin.execute("CHECKPOINT")


def start_daemon(db, synchronous_commit="off", conninfo=None, workers=1):
    daemon = db.start(config=config_text([{"name": db.name, "conninfo": conninfo or db.conninfo()}],
                                         batch={"target_ms": TARGET_MS, "synchronous_commit": synchronous_commit, "workers_per_job": workers},
                                         throttle=HOST_OFF))
    daemon.says("connected")
    return daemon


def run_job(db, watch=lambda: None, every=0.2):
    """One job over all of orders; calls watch meanwhile; returns the job's row, its seconds from INSERT to end, and to where it has
    filled all rows, and begins to prove that."""
    name = db.submit(target="orders", set_clause=SET, where_clause=WHERE)
    filled = None

    def ended():
        nonlocal filled
        watch()
        state, phase, at = db.all("SELECT state, phase, phase_at FROM backfill.job WHERE name = %s", name)[0]
        filled = at if phase == "verify" else filled
        return state in ENDED
    wait_until(ended, 600, "the job ends", every)
    job = db.job(name)
    assert job["state"] == "succeeded", job["error"]
    wrong = db.one("SELECT count(*) FROM orders WHERE amount_cents IS DISTINCT FROM (amount * 100)::bigint")
    assert wrong == 0, f"{wrong} rows are wrong"
    return job, (job["finished_at"] - job["submitted_at"]).total_seconds(), (filled - job["submitted_at"]).total_seconds()


def cpu_s(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


# ---- Output

def row(what, *values, width=10):
    print(f"  {what:<42}" + "".join(f"{value:>{width}}" for value in values), flush=True)


def median_and_range(values, form):
    return f"{statistics.median(values):{form}}", f"{min(values):{form}}", f"{max(values):{form}}"


# ---- Speed: in turn, on the same server

def time_update(db):
    started = time.monotonic()
    db.app.execute(f"UPDATE orders SET {SET} WHERE {WHERE}")
    return time.monotonic() - started


def time_job(db, synchronous_commit, costs):
    daemon = start_daemon(db, synchronous_commit)
    before = cpu_s(daemon.pid)
    job, seconds, fill = run_job(db)
    costs["proof"].append((seconds - fill) / seconds * 100)
    costs["cpu"].append((cpu_s(daemon.pid) - before) / seconds * 100)
    costs["memory"].append(peak_mb(daemon.pid))
    costs["batch_ms"].append(job["report"]["batch_ms"])
    costs["batches"].append(job["report"]["batches"])
    daemon.terminate()
    return seconds


def speed(db):
    print(f"\nSpeed: {SPEED_ROWS:,} rows, one worker, target_ms = {TARGET_MS}, {ROUNDS} rounds of each in turn\n")
    costs = {"proof": [], "cpu": [], "memory": [], "batch_ms": [], "batches": []}
    ways = {"one UPDATE": lambda: time_update(db),
            "backfilld, synchronous_commit off": lambda: time_job(db, "off", costs),
            "backfilld, synchronous_commit on": lambda: time_job(db, "on", costs)}
    seconds = {way: [] for way in ways}
    row("seconds of each round", *range(1, ROUNDS + 1))
    load(db, SPEED_ROWS)
    time_update(db)  # the first of all is slower: the server's files are new
    for n in range(ROUNDS):
        for way in list(ways) if n % 2 == 0 else reversed(ways):
            load(db, SPEED_ROWS)
            seconds[way].append(ways[way]())
    for way, values in seconds.items():
        row(way, *(f"{value:.2f}" for value in values))

    one = seconds["one UPDATE"]
    print()
    row("speed, one UPDATE = 1", "median", "least", "most", "rows/s")
    for way, values in seconds.items():
        # A round's ratio is of neighbours in time, so that it loses least to what else the machine does.
        ratios = [mine / its for mine, its in zip(one, values)]
        row(way, *median_and_range(ratios, ".2f"), f"{SPEED_ROWS / statistics.median(values):,.0f}")
    print()
    row("both settings together", "median", "least", "most")
    row("proof that all is done, % of the job's time", *median_and_range(costs["proof"], ".1f"))
    row("daemon's CPU, % of the job's time", *median_and_range(costs["cpu"], ".2f"))
    row("daemon's peak memory, MB", *median_and_range(costs["memory"], ".1f"))
    row("batches of a job", *median_and_range(costs["batches"], ".0f"))
    for quantile in ("p50", "p99"):
        row(f"batch {quantile}, ms", *median_and_range([ms[quantile] for ms in costs["batch_ms"]], ".1f"))
    row("round trips a batch, of a worker's session", f"{round_trips(db):.3f}")


def workers(db):
    """One session that fills a table against two, in turn, beside what one UPDATE takes; what proves it comes after, and is one session's."""
    print(f"\nWorkers: {SPEED_ROWS:,} rows, target_ms = {TARGET_MS}, {ROUNDS} rounds of each in turn\n")
    seconds = {"one UPDATE": [], "one worker": [], "two workers": []}
    load(db, SPEED_ROWS)
    time_update(db)
    for n in range(ROUNDS):
        for way in list(seconds) if n % 2 == 0 else reversed(seconds):
            load(db, SPEED_ROWS)
            if way == "one UPDATE":
                seconds[way].append(time_update(db))
                continue
            daemon = start_daemon(db, workers=1 if way == "one worker" else 2)
            seconds[way].append(run_job(db)[2])
            daemon.terminate()
    row("seconds of each round, the proof left out", *range(1, ROUNDS + 1))
    for way, values in seconds.items():
        row(way, *(f"{value:.2f}" for value in values))
    print()
    row("speed", "median", "least", "most")
    for what, way, base in (("one worker, one UPDATE = 1", "one worker", "one UPDATE"), ("two workers, one UPDATE = 1", "two workers", "one UPDATE"),
                            ("two workers, one worker = 1", "two workers", "one worker")):
        row(what, *median_and_range([its / mine for mine, its in zip(seconds[way], seconds[base])], ".2f"))


class Proxy:
    """A socket between daemon and server that counts, of one role's sessions, how often the client spoke after the server."""

    def __init__(self, cluster, role):
        self.target = f"{cluster.directory}/.s.PGSQL.{cluster.port}"
        self.directory = tempfile.TemporaryDirectory(prefix="bf-")
        self.path = f"{self.directory.name}/.s.PGSQL.{cluster.port}"
        self.marker = b"user\0" + role.encode() + b"\0"
        self.turns = 0
        self.ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True).start()
        self.ready.wait(10)

    async def serve(self):
        server = await asyncio.start_unix_server(self.relay, self.path)
        self.ready.set()
        await server.serve_forever()

    async def relay(self, client_reader, client_writer):
        server_reader, server_writer = await asyncio.open_unix_connection(self.target)
        last = {"speaker": "server", "counted": False}

        async def copy(speaker, reader, writer):
            while data := await reader.read(65536):
                if speaker == "client" and data[4:8] == b"\0\3\0\0":  # a startup packet, protocol 3.0
                    last["counted"] = self.marker in data
                self.turns += last["counted"] and speaker == "client" and last["speaker"] == "server"
                last["speaker"] = speaker
                writer.write(data)
            writer.close()
        await asyncio.gather(copy("client", client_reader, server_writer), copy("server", server_reader, client_writer))


def round_trips(db):
    """The job's own few at its start and end are left out: two jobs of different length, and the difference."""
    proxy = Proxy(db.cluster, "app")
    counts = []
    for rows in (20_000, 1_000_000):
        load(db, rows)
        daemon = start_daemon(db, conninfo=db.conninfo().replace(db.cluster.directory, proxy.directory.name))
        before = proxy.turns
        job = run_job(db)[0]
        counts.append((proxy.turns - before, job["report"]["batches"]))
        daemon.terminate()
    (short_turns, short_batches), (long_turns, long_batches) = counts
    return (long_turns - short_turns) / (long_batches - short_batches)


# ---- Growth: does a batch take longer as the job goes on?

def tenths(samples, rows):
    """What each tenth of the rows took; samples: (keys done, seconds so far)."""
    marks, at = [samples[0][1]], 0
    for tenth in range(1, 11):
        goal = rows * tenth / 10
        while samples[at][0] < goal:
            at += 1
        (k0, s0), (k1, s1) = samples[at - 1], samples[at]
        marks.append(s0 + (s1 - s0) * (goal - k0) / (k1 - k0))
    return [b - a for a, b in zip(marks, marks[1:])]


def sample_job(db):
    """A job over all of orders: (keys, seconds on the clock) and (keys, seconds of the worker backend's CPU) as it goes."""
    clock, cpu = [], []

    def sample():
        found = db.all("""SELECT j.started_at, r.checkpoint_at, r.keys,
                                 (SELECT pid FROM pg_stat_activity WHERE application_name = 'backfilld ' || j.name)
                            FROM backfill.job j JOIN backfill.range r ON r.job_id = j.id
                           WHERE j.id = (SELECT max(id) FROM backfill.job)""")
        for started, at, keys, pid in found:
            if not clock:
                clock.append((0, started.timestamp()))
            if at and keys > clock[-1][0]:
                clock.append((keys, at.timestamp()))
            if pid and os.path.exists(f"/proc/{pid}/stat") and (not cpu or keys > cpu[-1][0]):
                cpu.append((keys, cpu_s(pid)))
    run_job(db, sample, 0.05)
    sample()
    # The backend is gone before its last batches are seen: as fast as those before, which is all but the same.
    (k0, s0), (k1, s1) = cpu[-6], cpu[-1]
    cpu.append((GROWTH_ROWS, s1 + (s1 - s0) * (GROWTH_ROWS - k1) / (k1 - k0)))
    return clock, cpu


def tenths_row(what, took):
    row(what, *(f"{s:.2f}" for s in took), f"{took[9] / took[0]:.2f}", width=7)


def plain_tenths(db):
    """The control: what each tenth of the same table takes as one plain UPDATE, with no daemon there."""
    took = []
    for tenth in range(10):
        started = time.monotonic()
        db.app.execute(f"UPDATE orders SET {SET} WHERE id > {GROWTH_ROWS // 10 * tenth} AND id <= {GROWTH_ROWS // 10 * (tenth + 1)}")
        took.append(time.monotonic() - started)
    return took


def growth(db):
    print(f"\nGrowth: {GROWTH_ROWS:,} rows; seconds that each tenth of them took: a job, on the clock and of the worker backend's CPU,\n"
          "and in turn with it ten plain UPDATEs\n")
    row("", *(f"{n}." for n in range(1, 11)), "10./1.", width=7)
    rounds = {"clock": [], "CPU": [], "plain": []}
    for n in range(GROWTH_ROUNDS):
        load(db, GROWTH_ROWS)
        rounds["plain"].append(plain_tenths(db))
        tenths_row(f"round {n + 1}, plain", rounds["plain"][-1])
        load(db, GROWTH_ROWS)
        daemon = start_daemon(db)
        for what, samples in zip(rounds, sample_job(db)):
            rounds[what].append(tenths(samples, GROWTH_ROWS))
            tenths_row(f"round {n + 1}, {what}", rounds[what][-1])
        daemon.terminate()
    # What else the machine does can only add to a tenth's time, so the least of the rounds is the best that is known of it.
    for what, took in rounds.items():
        tenths_row(f"least, {what}", [min(times) for times in zip(*took)])


# ---- Start: from INSERT to the daemon's claim

def start(db):
    print(f"\nStart: {START_JOBS} jobs on a table of one row, one after another, the daemon idle before each\n")
    db.table("small", rows=1)
    daemon = start_daemon(db)
    claimed, ended = [], []
    for _ in range(START_JOBS):
        name = db.submit(target="small", set_clause="n = n + 1")
        job = db.finish(name)
        claimed.append((job["started_at"] - job["submitted_at"]).total_seconds() * 1000)
        ended.append((job["finished_at"] - job["submitted_at"]).total_seconds() * 1000)
        time.sleep(0.1)
    daemon.terminate()
    row("ms", "median", "least", "most")
    row("from the INSERT's check to the claim", *median_and_range(claimed, ".1f"))
    row("from the INSERT's check to the job's end", *median_and_range(ended, ".1f"))


# ---- Sync: what the trigger of keep_in_sync costs whoever writes

def sync(db):
    print(f"\nSync: UPDATEs of {SYNC_ROWS:,} rows by an application, {ROUNDS} rounds of each in turn: without a trigger, with that of\n"
          "keep_in_sync, and with it for a clause that reads another table\n")
    clauses = {"no trigger": None, "of the row alone": SET,
               "of another table": "amount_cents = (SELECT r.factor * orders.amount FROM rate r WHERE r.id = orders.customer % 10)::bigint"}
    updates = {"what no clause reads": "note = note || '.'", "what the clause reads": "amount = amount + 1"}
    seconds = {(what, update): [] for update in updates for what in clauses}
    db.app.execute("CREATE TABLE rate (id bigint PRIMARY KEY, factor numeric); INSERT INTO rate SELECT i, 100 FROM generate_series(0, 9) i")
    for n in range(ROUNDS + 1):
        for what, clause in clauses.items():
            load(db, SYNC_ROWS)
            if clause:
                daemon = start_daemon(db)
                name = db.submit(target="orders", set_clause=clause, where_clause=WHERE, keep_in_sync=True)
                db.finish(name, timeout=300)
                daemon.terminate()
            for update, assignment in updates.items():
                db.app.execute("VACUUM orders")
                db.admin.execute("CHECKPOINT")
                started = time.monotonic()
                db.app.execute(f"UPDATE orders SET {assignment}")
                if n > 0:  # the first of all is slower
                    seconds[what, update].append(time.monotonic() - started)
    for update in updates:
        row(f"{update}: seconds", *range(1, ROUNDS + 1))
        for what in clauses:
            row(what, *(f"{value:.2f}" for value in seconds[what, update]))
        print()
        row("time, no trigger = 1", "median", "least", "most", "us a row")
        for what in clauses:
            pairs = list(zip(seconds[what, update], seconds["no trigger", update]))
            row(what, *median_and_range([mine / base for mine, base in pairs], ".2f"),
                f"{statistics.median(mine - base for mine, base in pairs) / SYNC_ROWS * 1e6:.2f}")
        print()


def main():
    parts = {"speed": speed, "workers": workers, "growth": growth, "start": start, "sync": sync}
    wanted = sys.argv[1:] or list(parts)
    unknown = [part for part in wanted if part not in parts]
    if unknown:
        sys.exit(f"{__doc__}\nbench: no such part: {', '.join(unknown)}")
    cluster = Cluster(**SERVER)
    try:
        prepare(cluster)
        db = Database(cluster)
        print(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores ({platform.machine()}), "
              f"load {os.getloadavg()[0]:.2f}, {db.one('SHOW server_version')} server with "
              + ", ".join(f"{name} = {value}" for name, value in SERVER.items()))
        for part in wanted:
            parts[part](db)
        print(f"\n{time.strftime('%H:%M')}, load {os.getloadavg()[0]:.2f}")
        with contextlib.redirect_stdout(io.StringIO()):  # it shows its daemons' logs
            db.destroy()
    finally:
        cluster.destroy()


if __name__ == "__main__":
    main()
