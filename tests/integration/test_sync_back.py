"""sync_back: old code and new code side by side."""

import threading

import psycopg
import pytest

from in_step import TRIGGERS, in_step, make, row
from waiting import wait_until


def test_old_code_that_writes_what_sync_back_reads_loses_nothing(db):
    make(db, "a numeric, rate numeric", "i, 2")
    in_step(db, "b = (a * rate * 100)::bigint", add_column="b bigint", sync_back="a = b / 100.0 / rate")
    for rate, b in ((4, 2000), (0, 0), ("NULL", None)):
        db.app.execute(f"UPDATE t SET rate = {rate} WHERE id = 5")
        assert row(db, 5, "a, b") == (5, b)
    db.app.execute("UPDATE t SET b = 100 WHERE id = 6")
    assert row(db, 6, "a, b") == (0.5, 100)


def test_a_new_column_with_a_default_sends_nothing_back_for_old_code(db):
    make(db, "a numeric, b bigint NOT NULL DEFAULT 0", "i")
    in_step(db, "b = coalesce((a * 100)::bigint, -1)", where_clause="b = 0", sync_back="a = nullif(b, -1) / 100.0")
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, NULL); INSERT INTO t (id, b) VALUES (1001, 700)")
    assert row(db, 1000, "a, b") == (None, -1) and row(db, 1001, "a, b") == (7, 700)


def test_what_new_code_writes_into_the_new_column_stays(db):
    make(db, "a numeric, note text", "i, 'x'")
    in_step(db, "b = a * 100", add_column="b bigint", enforce=["NOT NULL b"])
    db.app.execute("UPDATE t SET b = 777 WHERE id = 1; UPDATE t SET b = 555, a = 3 WHERE id = 2; UPDATE t SET note = 'y', a = 9 WHERE id = 3;"
                   "INSERT INTO t (id, b) VALUES (1000, 888); INSERT INTO t (id, a, b) VALUES (1001, 1, 5); UPDATE t SET note = 'z'")
    assert [row(db, key, "a, b") for key in (1, 2, 3, 1000, 1001)] == [(1, 777), (3, 555), (9, 900), (None, 888), (1, 5)]


def test_what_new_code_writes_into_a_row_that_was_put_aside_reaches_the_old_columns(db):
    make(db, "a text, b int, x text, y int, v int NOT NULL DEFAULT 0", "'A' || i, 5")
    db.app.execute("UPDATE t SET b = 0 WHERE id = 8")
    in_step(db, "x = lower(a), y = 100 / b, v = 1", where_clause="v = 0", sync_back="a = upper(x), b = 100 / y", on_error="quarantine")
    db.app.execute("UPDATE t SET x = 'half' WHERE id = 8")
    assert row(db, 8, "a, b, x, y, v") == ("HALF", 0, "half", None, 0)
    db.app.execute("INSERT INTO t (id, b, x) VALUES (1000, 0, 'half')")
    assert row(db, 1000, "a, b, x, y") == ("HALF", 0, "half", None)
    db.app.execute("UPDATE t SET x = 'new', y = 10, v = 1 WHERE id = 8")
    assert row(db, 8, "a, b, x, y") == ("NEW", 10, "new", 10)


def test_what_the_tables_own_triggers_make_of_the_old_column_holds_for_new_code(db):
    """They were written for it: they see what sync_back writes, and may refuse it."""
    make(db, "a int, quantity int DEFAULT 2, total int", "i")
    db.app.execute("""CREATE FUNCTION total() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF NEW.a < 0 OR NEW.a IS NULL THEN RAISE 'a must be above 0'; END IF;
          NEW.total := NEW.a * NEW.quantity; RETURN NEW; END $$;
        CREATE TRIGGER total BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION total()""")
    in_step(db, "b = a * 10", add_column="b int", sync_back="a = b / 10", enforce=["NOT NULL b"])
    db.app.execute("UPDATE t SET b = 5000 WHERE id = 1; INSERT INTO t (id, b) VALUES (1000, 70); UPDATE t SET a = 8 WHERE id = 2; INSERT INTO t (id, a) VALUES (1001, 9)")
    assert [row(db, key, "a, b, total") for key in (1, 1000, 2, 1001)] == [(500, 5000, 1000), (7, 70, 14), (8, 80, 16), (9, 90, 18)]
    with pytest.raises(psycopg.Error, match="a must be above 0"):
        db.app.execute("UPDATE t SET b = -10 WHERE id = 3")
    db.app.execute("ALTER TRIGGER total ON t RENAME TO \"!total\"")
    with pytest.raises(psycopg.Error, match='trigger "!total" would fire before') as refused:
        db.submit(set_clause="total = quantity", sync_back="quantity = total", where_clause="total IS NULL", keep_in_sync=True)
    assert refused.value.diag.column_name == "sync_back"


def test_the_way_back(db):
    make(db, "a numeric NOT NULL DEFAULT 0, note text", "i, 'x'")
    in_step(db, "b = (a * 100)::bigint", add_column="b bigint", sync_back="a = b / 100.0", enforce=["NOT NULL b"])
    db.app.execute("UPDATE t SET b = 777 WHERE id = 1; UPDATE t SET a = 2.5 WHERE id = 2; UPDATE t SET a = 1, b = 2 WHERE id = 3;"
                   "INSERT INTO t (id, b) VALUES (1000, 888); INSERT INTO t (id, a) VALUES (1001, 3); INSERT INTO t (id, a, b) VALUES (1002, 4, 5); INSERT INTO t (id) VALUES (1003)")
    got = [tuple(map(float, row(db, key, "a, b"))) for key in (1, 2, 3, 1000, 1001, 1002, 1003)]
    assert got == [(7.77, 777), (2.5, 250), (1, 2), (8.88, 888), (3, 300), (4, 5), (0, 0)]


def test_a_batch_does_not_go_back(db):
    """What old code has written is not rounded to what the new column can hold."""
    make(db, "a numeric", "i + 0.005")
    in_step(db, "b = (a * 100)::bigint", add_column="b bigint", sync_back="a = b / 100.0")
    assert db.one("SELECT count(*) FROM t WHERE a = id + 0.005") == 300


@pytest.mark.parametrize("columns, column, problem", [
    ({"sync_back": "a = b / 2"}, "sync_back", "goes with keep_in_sync"),
    ({"keep_in_sync": True, "sync_back": "b = a"}, "sync_back", "which set_clause fills"),
    ({"keep_in_sync": True, "sync_back": "a = 5"}, "sync_back", "reads no column that set_clause fills"),
    ({"keep_in_sync": True, "sync_back": "a = nix"}, "sync_back", 'column "nix" does not exist'),
    ({"keep_in_sync": True, "sync_back": "a"}, "sync_back", "no trigger can compute"),
])
def test_a_way_back_that_is_none_is_refused(db, columns, column, problem):
    make(db, "a int", "i")
    with pytest.raises(psycopg.Error, match=problem) as refused:
        db.submit(add_column="b int", set_clause="b = a * 2", **columns)
    assert refused.value.diag.column_name == column and refused.value.diag.message_hint


def test_old_code_new_code_and_both_at_once_lose_nothing_and_agree(db, scale, measured):
    """Before, during and after the job: old code writes a, new code b, the release between both."""
    each, keys = 2000 * scale, 3000
    db.app.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, a int NOT NULL DEFAULT 0, note text); INSERT INTO t SELECT i, i FROM generate_series(1, {keys}) AS i")
    daemon = db.daemon()
    problems, done, there = [], [], threading.Event()

    def write(n, kind):
        try:
            with db.connect("app") as session:
                for i in range(each):
                    if kind != "old":
                        there.wait(20)
                    key, value = (i * 7 + n * 1013) % keys + 1, i + 1
                    if i % 5 == 4:  # a row of its own
                        key = keys + 1 + n * each + i
                        columns = {"old": "(id, a)", "new": "(id, b)", "both": "(id, a, b)"}[kind]
                        values = {"old": [key, value], "new": [key, value * 2], "both": [key, value, value * 2]}[kind]
                        session.execute(f"INSERT INTO t {columns} VALUES ({', '.join(['%s'] * len(values))})", values)
                        done.append((key, value))
                    else:
                        sets = {"old": "a = %(v)s", "new": "b = %(v)s * 2", "both": "a = %(v)s, b = %(v)s * 2"}[kind]
                        got = session.execute(f"UPDATE t SET {sets}, note = 'x' WHERE id = %(k)s RETURNING a" + (", b" if kind != "old" else ""), {"v": value, "k": key}).fetchone()
                        if got[0] != value or (kind != "old" and got[1] != value * 2):
                            problems.append((kind, key, value, got))
        except psycopg.Error as error:
            problems.append((kind, str(error)))

    threads = [threading.Thread(target=write, args=(n, kind)) for n, kind in enumerate(["old", "new", "both", "old", "new"])]
    for thread in threads:
        thread.start()
    name = db.submit(add_column="b int", set_clause="b = a * 2", keep_in_sync=True, sync_back="a = b / 2", enforce=["NOT NULL b"], max_rows_per_s=1500)
    wait_until(lambda: db.one(TRIGGERS) == 5, what="the triggers are there")
    there.set()
    db.finish(name, timeout=60)
    for thread in threads:
        thread.join()
    measured("old and new code beside a job", f"{5 * each} transactions")
    assert problems == []
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a * 2") == 0
    assert dict(db.all(f"SELECT id, a FROM t WHERE id > {keys}")) == dict(done)


def test_a_way_back_into_the_key_of_partitions_is_refused(db):
    db.app.execute("CREATE TABLE t (id int, r int NOT NULL DEFAULT 1, PRIMARY KEY (id, r)) PARTITION BY LIST (r); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)")
    with pytest.raises(psycopg.Error, match="writes r of public.t, by which rows belong to partitions") as refused:
        db.submit(add_column="x bigint", set_clause="x = r", keep_in_sync=True, sync_back="r = x")
    assert refused.value.diag.column_name == "sync_back" and refused.value.diag.message_hint


@pytest.mark.parametrize("where", [None, "b IS NULL OR c IS NULL"])
@pytest.mark.parametrize("old, stale", [("a int, s text", None), ("a int NOT NULL, s text NOT NULL", "kept"), ("a int CHECK (a < 1000), s text", None), ("a int NOT NULL CHECK (a < 1000), s text", "kept")])
def test_of_several_old_columns_one_that_cannot_go_back_keeps_no_other_from_it(db, old, stale, where):
    """As on the way forth: each by itself, where all of them together can't be computed, or a CHECK refuses one."""
    db.app.execute(f"CREATE TABLE t (id int PRIMARY KEY, {old}, b bigint, c int); INSERT INTO t SELECT g, g, g::text FROM generate_series(1, 20) g")
    in_step(db, "b = a, c = s::int", sync_back="a = b::int, s = c::text", where_clause=where)
    too_large = 5000 if "CHECK" in old else 3000000000
    db.app.execute(f"UPDATE t SET b = {too_large}, c = 777 WHERE id = 2")
    assert row(db, 2, "a, s, b, c") == (2 if stale else None, "777", too_large, 777)
    db.app.execute("UPDATE t SET b = 5 WHERE id = 2; UPDATE t SET c = 778 WHERE id = 2")
    assert row(db, 2, "a, s, b, c") == (5, "778", 5, 778)
    if not stale:
        db.app.execute(f"INSERT INTO t (id, b, c) VALUES (100, {too_large}, 777)")
        assert row(db, 100, "a, s, b, c") == (None, "777", too_large, 777)


@pytest.mark.parametrize("clause, back", [("b = a * 10", "a = b / 10"), ("b = 3 - a", "a = 3 - b")])
@pytest.mark.parametrize("order", [0, 1])
def test_names_that_are_exchanged_with_finish_lose_nothing(db, clause, back, order):
    """In one transaction, which has the table for itself: the triggers, which know columns by name and by number, go with it, and not when a daemon comes."""
    make(db, "a bigint", "i % 2 + 1")
    daemon = db.daemon()
    in_step(db, clause, add_column="b bigint", sync_back=back, name="j")
    daemon.terminate()
    parts = ["ALTER TABLE t RENAME a TO y; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME y TO b", "SELECT backfill.finish('j')"]
    db.app.execute(f"BEGIN; LOCK TABLE t; {parts[order]}; {parts[1 - order]}; COMMIT")
    assert db.one(TRIGGERS) == 0
    for value in (1, 2, 1, 70):
        db.app.execute(f"UPDATE t SET a = {value} WHERE id = 5")
        assert row(db, 5, "a") == (value,)
    daemon.start()
    wait_until(lambda: not db.job("j")["tidy"], what="the daemon has seen it")


@pytest.mark.parametrize("not_null, accepted", [("a", False), ("b", True)])
def test_finish_asks_for_the_column_that_sync_back_meant(db, not_null, accepted):
    """Whatever it is called by then, and not for another that bears its name."""
    make(db, "a bigint", "i")
    in_step(db, "b = a * 10", add_column="b bigint", sync_back="a = b / 10", name="j")
    db.app.execute(f"ALTER TABLE t ALTER {not_null} SET NOT NULL")
    swap = "BEGIN; ALTER TABLE t RENAME a TO a_old; ALTER TABLE t RENAME b TO a; SELECT backfill.finish('j'); COMMIT"
    if accepted:
        db.app.execute(swap)
    else:
        with pytest.raises(psycopg.Error, match="fills a_old of public.t by sync_back, which may not be NULL"):
            db.app.execute(swap)
        db.app.execute("ROLLBACK")
