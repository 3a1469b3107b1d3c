-- What a job, its ranges and its rows are beside names and numbers: which database they belong to, and what order they were written in.

CREATE TYPE backfill.walk_key AS (
  index_oid   oid,
  filenode    oid,
  attnums     smallint[],
  columns     text[],
  types       text[],
  collations  text[],
  operators   text[],
  identity    jsonb
);
COMMENT ON TYPE backfill.walk_key IS 'a key as backfill.key_of finds it: what each part is stands there';

-- home: the cluster, the database and the table's OID (backfill.home). A dump carries it along: where it is another's, the row was
-- restored. key_identity: the key's columns by name, type, operator class and order (backfill.key_of).
ALTER TABLE backfill.job ADD COLUMN home text;
ALTER TABLE backfill.range ADD COLUMN home text, ADD COLUMN key_identity jsonb;
ALTER TABLE backfill.left_behind ADD COLUMN home text, ADD COLUMN key_identity jsonb;

UPDATE backfill.job
   SET home = format('%s/%s/%s', (SELECT c.system_identifier FROM pg_control_system() c),
                     (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()), target::oid);

-- A row without a primary key can't be deleted where a publication has all tables.
DROP INDEX backfill.installed_once;
ALTER TABLE backfill.installed
  ADD COLUMN only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row);
