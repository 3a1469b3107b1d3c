"""How a set_clause is taken apart. What stands between the places that are found here is the server's to read."""
import psycopg
import pytest


def one(to, expression, *columns):
    return {'to': to, 'columns': list(columns or [to]), 'expression': expression}


CLAUSES = {
    'b = a * 2': [one('b', 'a * 2')],
    'v = v, r = n, t = f': [one('v', 'v'), one('r', 'n'), one('t', 'f')],
    'b = a >= 2, c = b = a': [one('b', 'a >= 2'), one('c', 'b = a')],
    'a = f(x, y), "B c" = \'x,=\'\'y\' -- hi, = z\n': [one('a', 'f(x, y)'), one('"B c"', "'x,=''y'", 'B c')],
    'c[i + 1] = $q$a,b=$q$ || E\'\\\'\', d = $1, e = a$x$b': [one('c[i + 1]', "$q$a,b=$q$ || E'\\''", 'c'), one('d', '$1'), one('e', 'a$x$b')],
    "Größe = /* a /* = , */ b */ 5, s.f = DEFAULT": [one('Größe', '5', 'größe'), one('s.f', 'DEFAULT', 's')],
    '(a, "B") = ROW(1, g(2, 3))': [one('a', '1'), one('"B"', 'g(2, 3)', 'B')],
    '(a, b) = (1, (2))': [one('a', '1'), one('b', '(2)')],
    '(a, b) = (SELECT x, y FROM z)': [one('(a, b)', '(SELECT x, y FROM z)', 'a', 'b')],
    'a = (1) + (2)': [one('a', '(1) + (2)')],
    "a = 'one\ntwo', b = U&'d\\0061t'": [one('a', "'one\ntwo'"), one('b', "U&'d\\0061t'")],
    'a = 1,': None,
    'a': None,
    '': None,
    '= 1': None,
    '(a, b) = (1, 2, 3)': None,
    "a = 'never ends, b = 2": [one('a', "'never ends, b = 2")],
}


@pytest.mark.parametrize('clause', CLAUSES, ids=range(len(CLAUSES)))
def test_a_set_clause_is_cut_where_the_server_would(db, clause):
    assert db.one('SELECT backfill.assignments_of(%s)', clause) == CLAUSES[clause]


def test_a_text_is_cut_at_once_as_it_is_piece_by_piece(db, rng):
    """A "$" at the end has the same text cut the long way."""
    pieces = ["a", "b1", '"x y"', '"', "'", "''", "'it''s'", "E'a\\'b'", "e'", "x'1f'", "u&'d'", 'U&"d"', "--c\n", "-- c", "-", "*", "(", ")", "[", "]", ",", "=", "::", " ", "\n", "\t",
              "1.5", "é", "/* c */", "/**/", "/***/", "/* a\n' */", "/*", "*/", "/", "İ", "AND", "b'", "n'a'", "\\", ".", ";", "{batch}", "\r\n", "💥", "_", "'a\nb'"]
    texts = ["".join(rng.choices(pieces, k=rng.randint(0, 12))) + "\n;" for _ in range(2000)]
    for text, cut, slowly in db.all("SELECT t, backfill.tokens(t), backfill.tokens(t || '$') FROM unnest(%s::text[]) AS t", texts):
        assert slowly in (cut + ["$"], cut[:-1] + [cut[-1] + "$"]) and "".join(cut) == text, (text, cut, slowly)


CONDITIONS = {
    'b IS NULL': ['b'],
    '(t.B is null)': ['b'],
    '"a and b" IS /* or */ NULL AND (c IS NULL OR "D" IS NULL)': ['a and b', 'c', 'D'],
    'b IS NULL OR c IS NULL AND d IS NULL': ['b', 'c', 'd'],
    'other.b IS NULL': None,
    'b IS NOT NULL': None,
    'b IS NULL AND a > 0': None,
    'b IS NULL OR NOT c IS NULL': None,
    'a BETWEEN 1 AND 2': None,
    "b IS NULL = true": None,
}


@pytest.mark.parametrize('condition', CONDITIONS, ids=range(len(CONDITIONS)))
def test_a_condition_that_only_asks_for_null_is_known_by_the_servers_tokens(db, condition):
    assert db.one("SELECT backfill.null_columns(%s, 't')", condition) == CONDITIONS[condition]


@pytest.mark.parametrize("clause, within", [("((a))", "a"), ("(a) AND (b)", "(a) AND (b)"), ("((a) OR (b))", "(a) OR (b)"), (" ( /* x */ (a) -- y\n ) ", None), ("a", "a"), ("(a", "(a"), ("((a) AND b)", "(a) AND b"), ("()", ""), ("('(')", "'('")])
def test_brackets_around_a_condition_are_taken_off_at_once(db, clause, within):
    got = db.one("SELECT backfill.without_brackets(%s)", clause)
    assert got.strip() == within if within is not None else "a" == got.replace("/* x */", "").replace("-- y", "").strip().strip("()").strip()


def test_a_condition_of_many_brackets_is_read_as_quickly_as_one_of_none(db):
    """The control session, on which all others wait, reads it again and again."""
    inner = "b IS NULL" + " OR b < 0" * 1500 + "/**/"
    db.admin.execute("SET statement_timeout = '3s'")
    assert len(db.one("SELECT backfill.joined_by(%s, 'or')", "(" * 40 + inner + ")" * 40)) == 1501
    db.table()
    with pytest.raises(psycopg.Error, match="nested 41 deep, too deep for its length"):
        db.submit(set_clause="n = 1", where_clause="(" * 40 + "(n IS NULL)" + " OR n < 0" * 1500 + ")" * 40)
