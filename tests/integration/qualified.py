"""What of a function's source is looked up along the caller's search_path: functions, operators, types and casts that don't say whose they are."""

import re

TOKEN = re.compile(r"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<string>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')
    |(?P<word>"(?:[^"]|"")+"|[A-Za-z_][\w$]*|\$\d+)
    |(?P<number>\d+(?:\.(?!\.)\d*)?)
    |(?P<operator>::|:=|=>|\.\.|[-+*/<>=~!@#%^&|`?]+)
    |(?P<other>.)""", re.VERBOSE | re.DOTALL)

# What the grammar itself knows: no function, and types that are looked up nowhere but in pg_catalog.
GRAMMAR = set("""and or not in if elsif while when then else case exists any all some array row values from where having on using over filter within with as
    coalesce greatest least extract cast into select return perform execute raise exception operator order by group limit offset
    rows materialized returning set union except intersect table is null conflict insert update delete merge current""".split())
TYPES = set("record text jsonb json oid name tid xid xid8 regclass regtype regproc regprocedure regoperator regrole regnamespace pg_lsn timestamptz timestamp date float8 float4"
            " int2 int4 int8 bytea uuid record_type anyelement pg_class pg_attribute".split())
BY_OPERATOR = {"between", "like", "ilike", "similar", "nullif"}
OPTIONS = {"errcode", "message", "hint", "detail", "schema", "table", "column", "constraint", "datatype"}


def tokens_of(source):
    return [(m.lastgroup, m.group()) for m in TOKEN.finditer(source) if m.lastgroup != "skip"]


def unqualified(source):
    """The places, each with a few tokens around it."""
    tokens = tokens_of(source)
    words = [text.lower() if kind == "word" else text for kind, text in tokens]
    found = []

    def at(i, offset):
        return words[i + offset] if 0 <= i + offset < len(words) else ""

    statement = declares = ""   # the first word of the statement, and whether it is among declarations
    fresh, sets = True, False
    for i, (kind, text) in enumerate(tokens):
        word = words[i]
        if fresh and kind == "word":
            statement, fresh, sets = word, False, False
            declares = "declare" if word == "declare" else "" if word == "begin" else declares
        if word == ";" or (word in ("begin", "declare", "then", "loop", "else") and kind == "word" and at(i, -1) not in ("end",)):
            fresh = fresh or word in (";", "begin", "declare") or (word in ("then", "loop", "else") and "case" not in statement)
        sets = sets or word == "set"
        bad = False
        if kind == "operator":
            bad = not (word in (":=", "=>", "::", "..") or at(i, -2) == "pg_catalog" and at(i, -1) == "."
                       or word == "*" and (at(i, -1) in (".", "(", "select") and at(i, 1) in (")", ",", "into", "from", "") or at(i, -1) in ("select", "."))
                       or word == "=" and (statement == "get" or at(i, -1) in OPTIONS or (sets and at(i, -1) not in (")",) and at(i, -2) in ("set", ",")))
                       or word == "-" and tokens[i + 1][0] == "number" and at(i, -1) in ("(", ",", "array", "'{"))
        elif kind == "word" and word in BY_OPERATOR:
            bad = True
        elif kind == "word" and word == "from" and at(i, -1) == "distinct":
            bad = True
        elif kind == "word" and word == "in" and at(i, 1) == "(" and statement not in ("for", "foreach"):
            bad = True
        elif kind == "word" and word == "case" and at(i, 1) != "when" and at(i, -1) != "end" and at(i, 1) != ";":
            bad = True
        elif kind == "word" and at(i, 1) == "(" and at(i, -1) != "." and word not in GRAMMAR and not text.startswith('"') and at(i, -1) not in ("as", "into", "join", "from", "conflict", "with"):
            bad = not (at(i, -1) == ")" or at(i, -1) == "," and statement == "with")
        elif kind == "word" and word in TYPES and at(i, -1) != "." and at(i, 1) != ".":
            bad = at(i, -1) == "::" or (declares and tokens[i - 1][0] == "word" and (at(i, -2) in (";", "declare") or at(i, -1) == "constant"))
        if bad:
            found.append(" ".join(t for _, t in tokens[max(0, i - 3):i + 4]))
    return found
