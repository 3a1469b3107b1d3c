"""Ended jobs are forgotten after a while, and nothing that somebody may still want."""

import signal

from waiting import wait_until


def names(db):
    return {name for name, in db.all("SELECT name FROM backfill.job")}


def age(db, days, *jobs):
    db.admin.execute("UPDATE backfill.job SET finished_at = finished_at - make_interval(days => %s) WHERE name = ANY (%s)", [days, list(jobs)])


def test_ended_jobs_are_forgotten_after_their_days_but_for_those_that_have_left_something(db):
    db.table()
    db.app.execute("ALTER TABLE t ADD v int")
    first = db.daemon()
    submit = lambda name, state="succeeded", **columns: db.finish(db.submit(name=name, **{"set_clause": "n = n + 1", **columns}), state)
    for name in ("old", "young", "locked"):
        submit(name)
    submit("failed", "failed", set_clause="n = 1 / (id - 5)")
    submit("aside", set_clause="n = 1 / (id - 5)", on_error="quarantine")
    submit("in step", set_clause="c = n", add_column="c int", keep_in_sync=True)
    db.submit(name="paused", set_clause="n = 1", wanted="pause")
    first.terminate()
    age(db, 31, "old", "failed", "aside", "in step", "locked")
    age(db, 29, "young")
    with db.connect("app") as session:
        session.execute("BEGIN; SELECT FROM backfill.job WHERE name = 'locked' FOR UPDATE")
        daemon = db.daemon(jobs={"keep_ended_days": 30})
        daemon.says("forgot 2 jobs that had ended more than 30 days ago")
        assert names(db) == {"young", "locked", "aside", "in step", "paused"}
        session.execute("ROLLBACK")
    assert db.one("SELECT count(*) FROM backfill.range r WHERE NOT EXISTS (SELECT FROM backfill.job j WHERE j.id = r.job_id)") == 0
    # by SIGHUP, too, and in portions however many there are
    db.admin.execute("SET session_replication_role = replica; INSERT INTO backfill.job OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(j, jsonb_build_object('id', 100000 + i, 'name', 'many ' || i))).* FROM backfill.job j, generate_series(1, 3000) AS i WHERE j.name = 'young'; RESET session_replication_role")
    age(db, 31, *(f"many {i}" for i in range(1, 3001)))
    with open(daemon.config_path, "w") as config:
        config.write(db.config(jobs={"keep_ended_days": 25}))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: names(db) == {"aside", "in step", "paused"}, what="they are forgotten")


def test_ended_jobs_are_kept_for_ever_by_default(db):
    db.table()
    daemon = db.daemon()
    db.finish(db.submit(name="old", set_clause="n = n + 1"))
    age(db, 1000, "old")
    daemon.terminate()
    db.daemon().says("connected")
    db.finish(db.submit(name="another", set_clause="n = n + 1"))
    assert names(db) == {"old", "another"}
