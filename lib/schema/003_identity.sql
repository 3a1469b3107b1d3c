-- What a job's key is, beside the numbers of its columns.

CREATE TYPE backfill.walk_key AS (
  index_oid   oid,
  attnums     smallint[],
  columns     text[],
  types       text[],
  collations  text[],
  operators   text[],
  identity    jsonb
);
COMMENT ON TYPE backfill.walk_key IS 'a key as backfill.key_of finds it: what each part is stands there';
