"""keep_in_sync on a column that is a foreign key: what the key's own action writes into it is right by the other table."""

import pytest
from in_step import in_step

DANGLING = "SELECT count(*) FROM t LEFT JOIN parent p ON p.id = t.b WHERE t.b IS NOT NULL AND p.id IS NULL"


@pytest.mark.parametrize("partitions", [False, True])
@pytest.mark.parametrize("clause, where", [("b = (j->>'u')::bigint", None), ("b = (j->>'u')::bigint", "b IS NULL AND j ? 'u'"), ("b = (j->>'u')::bigint", "b IS DISTINCT FROM (j->>'u')::bigint"),
                                           ("b = coalesce(b, (j->>'u')::bigint)", "b IS NULL"), ("b = (j->>'u')::bigint, c = x", "b IS NULL OR c IS NULL")])
@pytest.mark.parametrize("action, change, then", [("DELETE SET NULL", "DELETE FROM parent WHERE id = 7", None), ("DELETE SET DEFAULT", "DELETE FROM parent WHERE id = 7", None),
                                                  ("UPDATE CASCADE", "UPDATE parent SET id = 77 WHERE id = 7", 77)])
def test_what_a_foreign_keys_action_writes_stays(db, partitions, clause, where, action, change, then):
    """The trigger that gave the old value back left a row without a parent, under a validated constraint: the server asks for none, as the value is as before."""
    db.app.execute("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.app.execute("INSERT INTO parent SELECT generate_series(1, 20)")
    db.app.execute(f"""CREATE TABLE t (id int PRIMARY KEY, j jsonb, x int, c int, b bigint REFERENCES parent (id) ON {action}) {'PARTITION BY RANGE (id)' if partitions else ''}""")
    if partitions:
        db.app.execute("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (51); CREATE TABLE t2 PARTITION OF t DEFAULT")
    db.app.execute("INSERT INTO t SELECT g, jsonb_build_object('u', g % 20 + 1), 1 FROM generate_series(1, 100) g")
    in_step(db, clause, where_clause=where)
    db.app.execute(change)
    assert db.one(DANGLING) == 0
    assert db.all("SELECT DISTINCT b FROM t WHERE j->>'u' = '7'") == [(then,)]
    if where is None:  # others who write NULL leave the row to do
        db.app.execute("UPDATE t SET b = NULL WHERE id = 1")
        assert db.one("SELECT b FROM t WHERE id = 1") == 2


@pytest.mark.parametrize("way", ["a trigger of another table", "a view"])
@pytest.mark.parametrize("where", [None, "s = 'old'"])
def test_what_others_write_by_a_trigger_is_no_foreign_keys_action(db, way, where):
    """It leaves the row to do as by a statement of its own."""
    db.app.execute("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.app.execute("INSERT INTO parent SELECT generate_series(1, 20)")
    db.app.execute("""CREATE TABLE t (id int PRIMARY KEY, j jsonb, s text DEFAULT 'old' REFERENCES states ON UPDATE CASCADE, b bigint REFERENCES parent (id) ON DELETE SET NULL)""".replace("REFERENCES states ON UPDATE CASCADE", ""))
    db.app.execute("INSERT INTO t SELECT g, jsonb_build_object('u', g % 20 + 1) FROM generate_series(1, 100) g")
    in_step(db, "b = (j->>'u')::bigint" + (", s = 'new'" if where else ""), where_clause=where)
    write = "UPDATE t SET b = NULL" + (", s = 'old'" if where else "")
    if way == "a view":
        db.app.execute(f"""CREATE VIEW v AS SELECT * FROM t; CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {write} WHERE id = OLD.id; RETURN NEW; END $$; CREATE TRIGGER v INSTEAD OF UPDATE ON v FOR EACH ROW EXECUTE FUNCTION tr();
                           UPDATE v SET b = NULL WHERE id = 5""")
    else:
        db.app.execute(f"""CREATE TABLE u (id int); CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {write} WHERE id = NEW.id; RETURN NEW; END $$; CREATE TRIGGER u AFTER INSERT ON u FOR EACH ROW EXECUTE FUNCTION tr();
                           INSERT INTO u VALUES (5)""")
    db.app.execute(f"{write} WHERE id = 25")  # by itself
    there = db.all("SELECT b, s FROM t WHERE id IN (5, 25)")
    assert there[0] == there[1] and (there[0][0] == 6 or where), there
