-- How a clause of a job is taken apart: into the server's tokens, and a set_clause into what it assigns. Only the places of commas,
-- brackets and "=" are found here; what stands between them is the server's to read, and is checked by it, piece by piece.

-- The next token of an SQL text, as PostgreSQL's scanner would cut it, with standard_conforming_strings on: white space, a comment, a
-- constant, an identifier, or one character. Never empty; an end that is missing (of a string, a comment) gives all the rest.
-- Most are short, so the beginning of a long text is looked at first: a pattern costs what its text is long, each time.
CREATE OR REPLACE FUNCTION backfill.next_token(rest text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  near  constant text := left(rest, 100);
  token text := backfill.read_token(near);
BEGIN
  -- What ends with what was looked at may go on; so may a letter before a quote that isn't closed there: e'…, b'…, u&"…
  RETURN CASE WHEN length(token) < 100 AND near !~ '^(?:[eEnNbBxX]''|[uU]&)' THEN token ELSE backfill.read_token(rest) END;
END
$$;

CREATE OR REPLACE FUNCTION backfill.read_token(rest text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
AS $$
DECLARE
  token text := (regexp_match(rest,
    '^(\s+|--[^\r\n]*|[eE]''(?:[^''\\]|\\.|'''')*''|(?:[uU]&|[nNbBxX])?''(?:[^'']|'''')*''|(?:[uU]&)?"(?:[^"]|"")*"'
    '|(?:[[:alpha:]_]|[^\x01-\x7f])(?:[[:alnum:]_$]|[^\x01-\x7f])*)'))[1];
  tag   text;
  depth integer := 0;
  at    integer := 1;
BEGIN
  IF token IS NOT NULL THEN
    RETURN token;
  ELSIF left(rest, 2) = '/*' THEN  -- comments nest
    LOOP
      CASE substr(rest, at, 2)
        WHEN '/*' THEN depth := depth + 1; at := at + 2;
        WHEN '*/' THEN depth := depth - 1; at := at + 2;
        WHEN '' THEN RETURN rest;
        ELSE at := at + 1;
      END CASE;
      IF depth = 0 THEN
        RETURN left(rest, at - 1);
      END IF;
    END LOOP;
  END IF;
  tag := (regexp_match(rest, '^(\$(?:(?:[[:alpha:]_]|[^\x01-\x7f])(?:[[:alnum:]_]|[^\x01-\x7f])*)?\$)'))[1];
  IF tag IS NOT NULL THEN
    at := strpos(substr(rest, length(tag) + 1), tag);
    RETURN CASE at WHEN 0 THEN rest ELSE left(rest, 2 * length(tag) + at - 1) END;
  ELSIF left(rest, 1) IN ('''', '"') THEN
    RETURN rest;
  END IF;
  RETURN left(rest, 1);
END
$$;

-- Whether a text can't be cut into tokens by one pattern: it has, or seems to have, a quote of dollars, or a comment within a comment.
CREATE OR REPLACE FUNCTION backfill.is_read_slowly(clause text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT clause ~ '[$]' OR clause ~ '/\*(?:[^*]|\*+[^*/])*/\*'
$$;

-- A text in tokens. Most texts are cut at once, by one pattern: those in which each quote has its end, and that backfill.is_read_slowly lets through.
-- Others are cut from pieces, for what is taken from the beginning of a long text costs what that is long, each time; a token that may go on behind
-- its piece is looked for in all that is left.
CREATE OR REPLACE FUNCTION backfill.tokens(clause text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
AS $$
DECLARE
  piece  constant integer := 500;
  result text[] := '{}';
  rest   text := '';
  later  text := clause;
  token  text;
BEGIN
  IF NOT backfill.is_read_slowly(clause) THEN
    result := ARRAY(SELECT m[1] FROM regexp_matches(clause,
      '(\s+|--[^\r\n]*|/\*(?:[^*]|\*+[^*/])*\*+/|[eE]''(?:[^''\\]|\\.|'''')*''|(?:[uU]&|[nNbBxX])?''(?:[^'']|'''')*''|(?:[uU]&)?"(?:[^"]|"")*"'
      '|(?:[[:alpha:]_]|[^\x01-\x7f])(?:[[:alnum:]_]|[^\x01-\x7f])*|.)', 'g') AS m);
    IF NOT result && ARRAY['''', '"'] AND strpos(array_to_string(result, E'\x01'), E'/\x01*') = 0 THEN  -- nor a comment without an end
      RETURN result;
    END IF;
    result := '{}';
  END IF;
  LOOP
    IF length(rest) > 2 * piece THEN
      later := substr(rest, piece + 1) || later;
      rest := left(rest, piece);
    ELSIF length(rest) < 120 AND later <> '' THEN
      rest := rest || left(later, piece);
      later := substr(later, piece + 1);
    END IF;
    EXIT WHEN rest = '';
    token := backfill.next_token(rest);
    IF later <> '' AND (length(token) = length(rest) OR left(rest, 2) ~ '^(?:[eEnNbBxX]''|[uU]&)') THEN  -- e'… whose end isn't there is an e
      rest := rest || later;
      later := '';
      token := backfill.next_token(rest);
    END IF;
    result := result || token;
    rest := substr(rest, length(token) + 1);
  END LOOP;
  RETURN result;
END
$$;

-- Cuts a text at the commas, or at the first "=", that stand in no bracket, string or comment. With '=' two pieces come, or one when there is
-- none.
CREATE OR REPLACE FUNCTION backfill.split_at(clause text, separator text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  piece  text := '';
  pieces text[] := '{}';
  depth  integer := 0;
  token  text;
BEGIN
  FOREACH token IN ARRAY backfill.tokens(clause) LOOP
    IF token = separator AND depth = 0 AND (separator <> '=' OR pieces = '{}') THEN
      pieces := pieces || piece;
      piece := '';
      CONTINUE;
    END IF;
    depth := depth + CASE WHEN token IN ('(', '[') THEN 1 WHEN token IN (')', ']') THEN -1 ELSE 0 END;
    piece := piece || token;
  END LOOP;
  RETURN pieces || piece;
END
$$;

-- A text without the white space and the comments at its ends.
CREATE OR REPLACE FUNCTION backfill.trim_sql(clause text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  result text := '';
  spaces text := '';
  token  text;
BEGIN
  FOREACH token IN ARRAY backfill.tokens(clause) LOOP
    IF btrim(token, E' \n\r\t\f\x0b') = '' OR left(token, 2) IN ('--', '/*') THEN
      spaces := spaces || token;
    ELSE
      result := result || CASE WHEN result = '' THEN '' ELSE spaces END || token;
      spaces := '';
    END IF;
  END LOOP;
  RETURN result;
END
$$;

-- What stands in the brackets around a text: of "(a, b)" it is "a, b"; NULL when these are not around all of it.
CREATE OR REPLACE FUNCTION backfill.within_brackets(clause text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  whole text := backfill.trim_sql(clause);
  depth integer := 0;
  at    integer := 0;
  token text;
BEGIN
  IF left(whole, 1) <> '(' OR right(whole, 1) <> ')' THEN
    RETURN NULL;
  END IF;
  FOREACH token IN ARRAY backfill.tokens(whole) LOOP
    at := at + length(token);
    depth := depth + CASE token WHEN '(' THEN 1 WHEN ')' THEN -1 ELSE 0 END;
    IF depth = 0 THEN
      RETURN CASE WHEN at = length(whole) AND token = ')' THEN substr(whole, 2, length(whole) - 2) END;
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;

-- The column that a target of SET begins with, as the catalog has its name: of "Amount" it is amount, of "lines[2]" it is lines.
-- NULL when it is none.
CREATE OR REPLACE FUNCTION backfill.assigned_column(target text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (parse_ident(backfill.next_token(backfill.trim_sql(target))))[1]::name;
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN NULL;
END
$$;

-- What a set_clause assigns: [{to, columns, expression}] in its order. to: as written; columns: names of the catalog; expression: as
-- written. (a, b) = ROW(x, y) gives two of one column each; (a, b) = (SELECT …) one of two columns, whose expression is the
-- sub-select with its brackets. An expression may be DEFAULT. NULL: it is no such clause.
CREATE OR REPLACE FUNCTION backfill.assignments_of(set_clause text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  result  jsonb := '[]';
  item    text;
  sides   text[];
  targets text[];
  sources text[];
  inner_text text;
BEGIN
  FOREACH item IN ARRAY backfill.split_at(set_clause, ',') LOOP
    sides := backfill.split_at(item, '=');
    IF cardinality(sides) <> 2 THEN
      RETURN NULL;
    END IF;
    sides := ARRAY[backfill.trim_sql(sides[1]), backfill.trim_sql(sides[2])];
    targets := backfill.split_at(backfill.within_brackets(sides[1]), ',');
    IF targets IS NULL THEN
      targets := ARRAY[sides[1]];
      sources := ARRAY[sides[2]];
    ELSE
      inner_text := backfill.within_brackets(CASE WHEN lower(backfill.next_token(sides[2]) COLLATE "C") = 'row' THEN substr(sides[2], 4) ELSE sides[2] END);
      sources := CASE WHEN lower(backfill.next_token(backfill.trim_sql(inner_text)) COLLATE "C") IN ('select', 'with', 'values', 'table') THEN ARRAY[sides[2]]
                      ELSE backfill.split_at(inner_text, ',') END;
    END IF;
    targets := ARRAY(SELECT backfill.trim_sql(t) FROM unnest(targets) WITH ORDINALITY AS u(t, ord) ORDER BY ord);
    IF cardinality(sources) = cardinality(targets) THEN
      result := result || (SELECT jsonb_agg(jsonb_build_object('to', t, 'columns', jsonb_build_array(backfill.assigned_column(t)), 'expression', backfill.trim_sql(s)) ORDER BY ord)
                             FROM unnest(targets, sources) WITH ORDINALITY AS u(t, s, ord));
    ELSIF cardinality(sources) = 1 THEN
      result := result || jsonb_build_object('to', sides[1], 'expression', sides[2],
                                             'columns', (SELECT jsonb_agg(backfill.assigned_column(t) ORDER BY ord) FROM unnest(targets) WITH ORDINALITY AS u(t, ord)));
    ELSE
      RETURN NULL;
    END IF;
  END LOOP;
  RETURN CASE WHEN NOT jsonb_path_exists(result, '$[*] ? (@.columns[*] == null || @.expression == "")') THEN result END;
END
$$;

-- The tokens of a text that are neither white space nor comments.
CREATE OR REPLACE FUNCTION backfill.tokens_of(clause text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  result text[] := '{}';
  token  text;
BEGIN
  FOREACH token IN ARRAY backfill.tokens(clause) LOOP
    IF btrim(token, E' \n\r\t\f\x0b') <> '' AND left(token, 2) NOT IN ('--', '/*') THEN
      result := result || token;
    END IF;
  END LOOP;
  RETURN result;
END
$$;

-- What stands within all the brackets that are around a text as a whole, read once, however many those are.
CREATE OR REPLACE FUNCTION backfill.without_brackets(clause text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tokens text[] := backfill.tokens(clause);
  n      constant integer := cardinality(tokens);
  blank  constant text := '^(\s|--|/\*)';
  depth  integer := 0;
  least  integer;        -- depth between the first brackets and the last ones
  first  integer := 1;   -- token that is no bracket around
  last   integer := n;
  k      integer := 0;
  ends   integer := 0;
BEGIN
  WHILE first <= n AND (tokens[first] = '(' OR tokens[first] ~ blank) LOOP
    k := k + (tokens[first] = '(')::integer;
    first := first + 1;
  END LOOP;
  WHILE last >= first AND (tokens[last] = ')' OR tokens[last] ~ blank) LOOP
    ends := ends + (tokens[last] = ')')::integer;
    last := last - 1;
  END LOOP;
  least := least(k, ends);
  depth := k;
  FOR i IN first .. last LOOP
    depth := depth + CASE tokens[i] WHEN '(' THEN 1 WHEN ')' THEN -1 ELSE 0 END;
    least := least(least, depth);
  END LOOP;
  IF least <= 0 OR depth <> ends THEN
    RETURN clause;
  END IF;
  k := least;
  first := 1;
  WHILE k > 0 LOOP
    k := k - (tokens[first] = '(')::integer;
    first := first + 1;
  END LOOP;
  k := least;
  last := n;
  WHILE k > 0 LOOP
    k := k - (tokens[last] = ')')::integer;
    last := last - 1;
  END LOOP;
  RETURN array_to_string(tokens[first:last], '');
END
$$;

-- The conditions that a where_clause joins by AND, or those that it joins by OR, outside of brackets: AND binds closer, so that what is joined by both
-- is one condition to AND. A single one, as it stands: there is nothing of the kind. SQL's words are ASCII, whatever the database's locale makes of an I.
CREATE OR REPLACE FUNCTION backfill.joined_by(where_clause text, operator text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  piece   text := '';
  result  text[] := '{}';
  depth   integer := 0;
  between boolean := false;
  token   text;
  word    text;
BEGIN
  where_clause := backfill.without_brackets(where_clause);
  FOREACH token IN ARRAY backfill.tokens(where_clause) LOOP
    word := lower(token COLLATE "C");
    depth := depth + CASE WHEN word IN ('(', '[', 'case') THEN 1 WHEN word IN (')', ']', 'end') THEN -1 ELSE 0 END;
    IF depth = 0 AND word = 'or' AND operator = 'and' THEN
      RETURN ARRAY[where_clause];
    ELSIF depth = 0 AND word = 'between' THEN
      between := true;
    ELSIF depth = 0 AND word = 'and' AND between THEN
      between := false;
    ELSIF depth = 0 AND word = operator THEN
      result := result || backfill.trim_sql(piece);
      piece := '';
      CONTINUE;
    END IF;
    piece := piece || token;
  END LOOP;
  RETURN result || backfill.trim_sql(piece);
END
$$;

-- Of "column IS NULL" the column, as the catalog has its name; NULL for any other condition. table_name may stand before it.
CREATE OR REPLACE FUNCTION backfill.asked_for_null(condition text, table_name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tokens text[];
  n      integer;
BEGIN
  condition := backfill.without_brackets(condition);
  tokens := backfill.tokens_of(condition);
  n := cardinality(tokens);
  IF lower(tokens[n] COLLATE "C") = 'isnull' THEN
    RETURN backfill.asked_for_null(array_to_string(tokens[1:n - 1], ' ') || ' IS NULL', table_name);
  ELSIF n > 5 AND backfill.within_brackets(array_to_string(tokens[1:n - 2], ' ')) IS NOT NULL OR n = 5 AND tokens[1] = '(' THEN
    RETURN backfill.asked_for_null(concat_ws(' ', backfill.within_brackets(array_to_string(tokens[1:n - 2], ' ')), tokens[n - 1], tokens[n]), table_name);
  ELSIF n NOT IN (3, 5) OR lower(tokens[n - 1] COLLATE "C") <> 'is' OR lower(tokens[n] COLLATE "C") <> 'null'
        OR (n = 5 AND (tokens[2] <> '.' OR backfill.assigned_column(tokens[1]) IS DISTINCT FROM table_name)) THEN
    RETURN NULL;
  END IF;
  RETURN backfill.assigned_column(tokens[n - 2]);
END
$$;

-- The columns that a where_clause asks for NULL in, when it asks for nothing else; else NULL.
CREATE OR REPLACE FUNCTION backfill.null_columns(where_clause text, table_name text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  parts   text[] := backfill.joined_by(where_clause, 'and');
  named   text := backfill.asked_for_null(where_clause, table_name);
  part    text;
  found   text[];
  columns text[] := '{}';
BEGIN
  IF named IS NOT NULL THEN
    RETURN ARRAY[named];
  ELSIF cardinality(parts) = 1 THEN
    parts := backfill.joined_by(where_clause, 'or');
    IF cardinality(parts) = 1 THEN
      RETURN NULL;
    END IF;
  END IF;
  FOREACH part IN ARRAY parts LOOP
    found := backfill.null_columns(part, table_name);
    IF found IS NULL THEN
      RETURN NULL;
    END IF;
    columns := columns || found;
  END LOOP;
  RETURN columns;
END
$$;

-- The conditions that a where_clause joins by AND and that ask for NULL in filled columns alone; NULL when there is none, or when another one may read a
-- filled column: it names one, or the row as a whole.
CREATE OR REPLACE FUNCTION backfill.null_parts(where_clause text, table_name text, filled text[]) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  part   text;
  tokens text[];
  name   text;
  result text[] := '{}';
BEGIN
  FOREACH part IN ARRAY backfill.joined_by(where_clause, 'and') LOOP
    IF backfill.null_columns(part, table_name) <@ filled THEN
      result := result || part;
      CONTINUE;
    END IF;
    tokens := backfill.tokens_of(part);
    FOR i IN 1 .. cardinality(tokens) LOOP
      name := backfill.assigned_column(tokens[i]);
      IF name = ANY (filled) OR name = table_name AND (tokens[i + 1] IS DISTINCT FROM '.' OR tokens[i + 2] = '*') THEN
        RETURN NULL;
      END IF;
    END LOOP;
  END LOOP;
  RETURN nullif(result, '{}');
END
$$;

-- The columns that a set_clause assigns, by name.
CREATE OR REPLACE FUNCTION backfill.filled_columns(set_clause text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT array_agg(DISTINCT p.j #>> '{}') FROM jsonb_path_query(backfill.assignments_of(set_clause), '$[*].columns[*]') AS p(j));
END
$$;
