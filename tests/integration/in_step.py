"""A table and a job that keeps its rows in step."""

TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass AND tgname LIKE '%backfilld%'"


def make(db, columns, rows="", user="app"):
    db.session(user).execute(f"CREATE TABLE t (id bigint PRIMARY KEY, {columns})")
    if rows:
        db.session(user).execute(f"INSERT INTO t SELECT i, {rows} FROM generate_series(1, 300) AS i")


def in_step(db, clause, user="app", state="succeeded", session=None, **columns):
    """The job's end; its trigger is in the table from then on."""
    if not db.daemons:
        db.daemon()
    name = db.submit(user=user, session=session, set_clause=clause, keep_in_sync=True, **columns)
    return db.finish(name, state)


def row(db, key, columns="b"):
    return db.all(f"SELECT {columns} FROM t WHERE id = {key}")[0]
