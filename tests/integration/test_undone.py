"""keep_in_sync and an UPDATE that leaves its row to do: code that writes all columns of an object, or a document as a whole, knows nothing of the new part."""

import pytest

from test_sync import in_step, make, row


@pytest.mark.parametrize("where", [None, "b IS NULL"])
def test_a_null_that_an_update_writes_is_computed_as_one_of_an_insert(db, where):
    """As an ORM does that saves all columns; by now the column may not be NULL."""
    make(db, "a int, b int", "i, NULL")
    in_step(db, "b = a * 2", where_clause=where, enforce=["NOT NULL b"])
    db.app.execute("UPDATE t SET b = NULL WHERE id = 1; UPDATE t SET a = 70, b = NULL WHERE id = 2; UPDATE t SET a = 80, b = 5 WHERE id = 3")
    db.app.execute("INSERT INTO t VALUES (1000, 9, NULL)")
    assert [row(db, key) for key in (1, 2, 3, 1000)] == [(2,), (140,), (5,), (18,)]


def test_a_null_stays_where_a_row_may_be_done_with_it(db):
    """where_clause doesn't ask for c; and b is NULL with another reason to be done."""
    make(db, "a int, d int, b int, c int", "i, i, NULL, NULL")
    in_step(db, "b = a, c = d", where_clause="b IS NULL")
    db.app.execute("UPDATE t SET c = NULL WHERE id = 1; UPDATE t SET b = NULL WHERE id = 2")
    assert [row(db, key, "b, c") for key in (1, 2)] == [(1, None), (2, 2)]


def test_what_new_code_clears_goes_back_and_stays_cleared(db):
    make(db, "a int", "i")
    in_step(db, "b = a * 2", add_column="b int", where_clause="b IS NULL", sync_back="a = b / 2")
    db.app.execute("UPDATE t SET b = NULL WHERE id = 1; UPDATE t SET a = 7, b = NULL WHERE id = 2")
    assert [row(db, key, "a, b") for key in (1, 2)] == [(None, None), (7, 14)]


@pytest.mark.parametrize("where", [None, "NOT j ? 'n'"])
def test_a_part_that_a_document_written_as_a_whole_lacks_is_put_in(db, where):
    make(db, "v int, j jsonb NOT NULL", "i, '{\"a\": 1}'")
    in_step(db, "j['n'] = to_jsonb(v)", where_clause=where, enforce=["CHECK (j ? 'n')"])
    db.app.execute("""UPDATE t SET j = '{"a": 2}' WHERE id = 2; UPDATE t SET v = 9, j = '{"z": 1}' WHERE id = 3; UPDATE t SET j = '{"n": 77}' WHERE id = 4""")
    assert [row(db, key, "j") for key in (2, 3, 4)] == [({"a": 2, "n": 2},), ({"z": 1, "n": 9},), ({"n": 77},)]


def test_a_value_that_where_clause_says_is_to_do_is_replaced_whatever_wrote_it(db):
    make(db, "s text NOT NULL, v int", "'old', i")
    in_step(db, "s = 'new'", where_clause="s = 'old'", enforce=["CHECK (s <> 'old')"])
    db.app.execute("UPDATE t SET s = 'old' WHERE id = 2; UPDATE t SET s = 'other' WHERE id = 3; UPDATE t SET v = 0 WHERE id = 4; INSERT INTO t VALUES (1000, 'old', 1)")
    assert [row(db, key, "s") for key in (2, 3, 4, 1000)] == [("new",), ("other",), ("new",), ("new",)]


def test_a_row_that_is_left_to_do_for_one_of_several_columns_keeps_the_others(db):
    make(db, "a int, d int, b int, c int", "i, i, NULL, NULL")
    in_step(db, "b = a, c = d", where_clause="b IS NULL OR c IS NULL")
    db.app.execute("UPDATE t SET b = NULL, c = 50 WHERE id = 1; UPDATE t SET d = 60, b = NULL WHERE id = 2; UPDATE t SET c = 70 WHERE id = 3")
    assert [row(db, key, "b, c") for key in (1, 2, 3)] == [(1, 50), (2, 60), (3, 70)]


def test_what_cannot_be_computed_is_left_as_it_was_written(db):
    make(db, "a int, b int", "i, NULL")
    in_step(db, "b = 10 / a", where_clause="b IS NULL")
    db.app.execute("UPDATE t SET a = 0, b = NULL WHERE id = 1; UPDATE t SET b = 6 WHERE id = 2")
    assert [row(db, key, "a, b") for key in (1, 2)] == [(0, None), (2, 6)]
