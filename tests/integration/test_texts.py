"""Texts: what a server, a table or a user says reaches nobody as a command, and holds nothing up."""

import array
import fcntl
import os
import pty
import socket
import termios
import threading
import time

import psycopg
import pytest

from daemon import run
from waiting import wait_until

NASTY = r"x\nWATCHDOG=trigger\r\nSTOPPING=1\n\x1b[31m\u009b31m\u2028y\u202e\u2067z"


def raising(db, message, sqlstate="40001", above=500):
    """A function for a job's clause that fails so for every key above that one."""
    db.app.execute(f"""CREATE FUNCTION f(bigint) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        IF $1 > {above} THEN RAISE EXCEPTION USING MESSAGE = {message}, ERRCODE = '{sqlstate}'; END IF; RETURN 1; END $$""")


@pytest.fixture
def notified(tmp_path, monkeypatch):
    """The datagrams that a daemon of this test sends to its service manager."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        told = []

        def read():
            try:
                while True:
                    told.append(listener.recv(1 << 20).decode())
            except BlockingIOError:
                return told
        yield read


def test_a_message_is_one_line_to_the_service_manager(db, notified):
    db.table()
    raising(db, f"E'{NASTY}'")
    db.daemon()
    name = db.submit(set_clause="n = f(id)")
    wait_until(lambda: any("WATCHDOG" in line for line in notified()), what="the status holds the message")
    for datagram in notified():
        if datagram.startswith("STATUS"):
            assert len(datagram.rstrip("\n").splitlines()) == 1, datagram
        else:
            assert datagram in ("READY=1", "STOPPING=1"), datagram
    wait_until(lambda: db.job(name)["waiting_for"] == "x WATCHDOG=trigger  STOPPING=1  [31m 31m y  z", what="the job says it in one line")


def test_what_a_job_waited_for_is_not_said_while_its_server_is_away(own_db, notified):
    db = own_db
    db.table(rows=10)
    raising(db, "'too many of something'", "53300", above=0)
    daemon = db.daemon()
    name = db.submit(set_clause="n = f(id)")
    wait_until(lambda: "too many of something" in (notified() or [""])[-1], what="the status says what it waits for")
    db.cluster.stop("immediate")
    for session in db.sessions.values():
        session.close()
    try:
        wait_until(lambda: notified()[-1].startswith("STATUS") and "not connected: " in notified()[-1] and "too many" not in notified()[-1], what="it says that the server is away")
    finally:
        db.cluster.start()
    db.app.execute("CREATE OR REPLACE FUNCTION f(bigint) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert db.finish(name)["waiting_for"] is None


def test_what_a_job_waits_for_is_said_anew_to_a_server_that_came_back(db):
    """One that has failed over may know an older reason only."""
    db.table(rows=10)
    raising(db, "'too many of something'", "53300", above=0)
    db.daemon()
    name = db.submit(set_clause="n = f(id)")
    wait_until(lambda: db.job(name)["waiting_for"] == "too many of something", what="status says what it waits for")
    db.admin.execute("UPDATE backfill.job SET waiting_for = 'something of before'")
    db.admin.execute("SELECT pg_terminate_backend(holder_pid) FROM backfill.job")
    wait_until(lambda: db.job(name)["waiting_for"] == "too many of something", timeout=8, what="it is said again")


def test_a_message_is_harmless_on_a_terminal_and_in_the_log(db):
    db.table()
    raising(db, f"E'{NASTY}'", "57P03")
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, array.array("H", [24, 200, 0, 0]))
    shown = bytearray()

    def read():
        while True:
            try:
                shown.extend(os.read(terminal, 4096))
            except OSError:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    daemon = db.start(config=db.config(), stderr=theirs)
    os.close(theirs)
    db.submit(set_clause="n = f(id)")
    wait_until(lambda: shown.count(b"WATCHDOG") > 3, what="the bar shows the message")
    daemon.terminate()
    reader.join(5)
    os.close(terminal)
    ours = bytes(shown).replace(b"\r\x1b[K", b"").replace(b"\r\n", b"").decode()
    assert not [c for c in ours if c < " " or "\x7f" <= c < "\xa0" or c in "\u2028\u2029\u202e\u2067"], ours


def test_names_of_tables_reach_the_log_as_one_line(db):
    db.app.execute('CREATE TABLE "a\nWATCHDOG=trigger\u009b" (id bigint PRIMARY KEY, n int)')
    daemon = db.daemon()
    db.finish(db.submit(target='"a\nWATCHDOG=trigger\u009b"', set_clause="n = 1"))
    assert 'public."a WATCHDOG=trigger "' in daemon.log()
    assert "\u009b" not in daemon.log() and "\nWATCHDOG" not in daemon.log()


# ---- Names and clauses

@pytest.mark.parametrize("column, value", [
    ("name", "n" * 201), ("name", "ä" * 101), ("set_clause", "n = 1" + " " * 32000), ("where_clause", "n = 1" + " " * 32000),
    ("statement", "UPDATE t SET n = 1 WHERE {batch}" + " " * 16000), ("throttle_off", ["lag"] * 1000), ("settings", {"a.b": "x" * 9000}),
])
def test_a_text_that_is_too_long_is_refused_by_name(db, column, value):
    db.table()
    columns = {column: value}
    if column != "set_clause" and column != "statement":
        columns["set_clause"] = "n = 1"
    with pytest.raises(psycopg.Error) as refused:
        db.submit(**columns)
    assert f"{column}: has" in str(refused.value) and refused.value.diag.message_hint


def test_a_name_of_200_bytes_is_fine(db):
    db.table()
    db.daemon()
    assert db.finish(db.submit(name="ä" * 100, set_clause="n = 1"))


def test_a_long_search_path_is_refused_by_name(db):
    db.table()
    with db.connect() as session:
        session.execute("SELECT set_config('search_path', 'public' || repeat(', s', 3000), false)")
        with pytest.raises(psycopg.Error, match="search_path: has"):
            db.submit(session=session, set_clause="n = 1")


def test_a_job_that_cannot_be_claimed_stops_nobody(db):
    db.table()
    db.table("theirs", user="other")
    bad = db.submit(name="bad", set_clause="n = 1", priority=100)
    other = db.submit(user="other", target="theirs", set_clause="n = 1")
    db.admin.execute("""
        CREATE FUNCTION public.stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          RAISE EXCEPTION 'payload string too long' USING ERRCODE = '22023'; END $$;
        CREATE TRIGGER stop AFTER UPDATE ON backfill.job FOR EACH ROW
          WHEN (NEW.name = 'bad' AND NEW.state = 'running') EXECUTE FUNCTION public.stop()""")
    db.daemon()
    db.finish(other)
    job = db.finish(bad, "failed")
    assert "payload string too long" in job["error"] and "retry" in job["hint"]


def test_a_name_from_before_that_is_too_long_for_a_notification_runs(db):
    db.table()
    db.submit(name="short", set_clause="n = 1", wanted="pause")
    db.admin.execute("UPDATE backfill.job SET name = repeat('a', 8100), state = 'queued', wanted = 'run'")
    daemon = db.daemon()
    db.finish("a" * 8100)
    assert max(map(len, daemon.log().splitlines())) < 4096
    db.daemons[0].terminate()


# ---- stderr

def test_a_stderr_that_nobody_reads_holds_nothing_up(db):
    db.table()
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    filled = os.write(writing, b"x" * 4096)
    daemon = db.start(config=db.config(log="debug"), stderr=writing)
    db.finish(db.submit(set_clause="n = n + 1"))
    assert fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK == 0, "it is shared with others, and stays as it was"
    os.close(writing)
    assert len(os.read(reading, filled)) == 4096
    db.finish(db.submit(set_clause="n = n + 1"))
    began = time.monotonic()
    assert daemon.terminate() == 0 and time.monotonic() - began < 3
    said = os.read(reading, 65536).decode()
    os.close(reading)
    assert "records are missing here: nobody took them in time" in said.splitlines()[0]
    assert db.counts() == {2: 1000}


def test_a_line_is_one_write(db):
    db.table(rows=10)
    name = db.submit(set_clause="n = 1 / (id - 5)::int")
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # each write is a packet
    with reading:
        daemon = db.start(config=db.config(), stderr=writing)
        writing.close()
        db.finish(name, "failed")
        daemon.terminate()
        packets = []
        while packet := reading.recv(1 << 16):
            packets.append(packet)
    assert all(packet.endswith(b"\n") and packet.count(b"\n") == 1 for packet in packets)
    assert any(b"row id = 5" in packet for packet in packets)


def test_a_terminal_that_is_stopped_holds_nothing_up(db):
    db.table()
    terminal, theirs = pty.openpty()
    daemon = db.start(config=db.config(), stderr=theirs)
    termios.tcflow(theirs, termios.TCOOFF)  # as Ctrl-S does
    os.close(theirs)
    db.finish(db.submit(set_clause="n = n + 1"))
    began = time.monotonic()
    daemon.terminate()
    os.close(terminal)
    assert time.monotonic() - began < 3


# ---- What the signals say

def test_what_is_waited_for_is_cut_between_characters(db):
    db.table()
    probe = {"name": "Länge der ääääääääääää ääääääääääää", "sql": "SELECT 5", "limit": 1.0}
    db.daemon(throttle={"probes": [probe]})
    name = db.submit(set_clause="n = n + 1")
    wait_until(lambda: "Länge der" in (db.job(name)["waiting_for"] or ""), what="the job says why it waits")


def test_a_file_in_latin1_is_shown_as_well_as_can_be(db, tmp_path):
    db.table()
    text = db.config(throttle={"probes": [{"name": "Lénge", "sql": "SELECT 5", "limit": 1.0}]})
    file = tmp_path / "latin1.conf"
    file.write_bytes(text.encode("latin1"))
    db.start("-c", str(file))
    name = db.submit(set_clause="n = n + 1")
    wait_until(lambda: "L\ufffdnge" in (db.job(name)["waiting_for"] or ""), what="the job says why it waits")


def test_more_standbys_than_can_be_watched_are_refused(db, tmp_path):
    file = tmp_path / "many.conf"
    for n, status in ((32, 0), (33, 2)):
        file.write_text(db.config(throttle={"standbys": [f"s{i}" for i in range(n)]}))
        checked = run("-c", str(file), "--check")
        assert checked.returncode == status, checked.stderr
    assert "standbys" in checked.stderr and "32" in checked.stderr
