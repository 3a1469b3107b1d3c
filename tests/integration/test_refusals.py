"""What the catalog knows is asked at INSERT: each refusal has a hint that can be followed, and what isn't refused goes through."""

import psycopg
import pytest


def refusal(db, session=None, **columns):
    """Submits a job that is refused: what is said, and the hint."""
    with pytest.raises(psycopg.Error) as error:
        db.submit(session=session, **columns)
    assert db.one("SELECT count(*) FROM backfill.job") == 0
    return error.value.diag.message_primary, error.value.diag.message_hint


# ---- A session's own things

def test_a_session_with_temporary_tables_inserts_one_job_after_the_other(db):
    db.table("t", columns="v int NOT NULL DEFAULT 3")
    with db.connect() as session:
        session.execute("CREATE TEMP TABLE mine (x int)")
        names = [db.submit(session=session, add_column=f"{c} int", set_clause=f"{c} = v", keep_in_sync=True) for c in "abc"]
    db.daemon()
    for name in names:
        db.finish(name)
