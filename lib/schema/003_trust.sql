-- What a job, its ranges and its rows keep so that what is said of them is true: of which database, in which order, for whom, and what was proven.

-- ---- What a job, its ranges and its rows are beside names and numbers: which database they belong to, and what order they were written in.

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

-- home: the cluster, the database, the table's OID and the schema's own (backfill.home). A dump carries it along: where it is another's, the row was
-- restored. key_identity: the key's columns by name, type, operator class and order (backfill.key_of).
ALTER TABLE backfill.job ADD COLUMN home text;
ALTER TABLE backfill.range ADD COLUMN home text, ADD COLUMN key_identity jsonb;
ALTER TABLE backfill.left_behind ADD COLUMN home text, ADD COLUMN key_identity jsonb;

UPDATE backfill.job
   SET home = format('%s/%s/%s/%s', (SELECT c.system_identifier FROM pg_control_system() c),
                     (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()), target::oid, 'backfill.job'::regclass::oid);

-- A row without a primary key can't be deleted where a publication has all tables.
DROP INDEX backfill.installed_once;
ALTER TABLE backfill.installed
  ADD COLUMN only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row);

-- ---- What keeps old and new code in step: the way back, and the settings under which a clause gives the same value whoever writes.

ALTER TABLE backfill.job
  ADD COLUMN sync_back text,                         -- what new code writes into the new column reaches the old one
  ADD COLUMN session jsonb NOT NULL DEFAULT '{}';    -- captured from the inserting session: settings that values depend on

-- A trigger of an earlier version is made anew, under names of its own, when its job goes on.
UPDATE backfill.job j
   SET plan = jsonb_set(j.plan, '{sync}', jsonb_build_object(
                'token', left(md5(j.id || gen_random_uuid()::text), 12), 'rest', '[]'::jsonb, 'asked', '[]'::jsonb, 'not_null', '[]'::jsonb, 'defaults', '{}'::jsonb, 'self', false,
                'mode', CASE WHEN j.where_clause IS NULL THEN 'all' WHEN j.plan -> 'sync' ->> 'where' IS NULL THEN 'null' ELSE 'where' END))
 WHERE j.keep_in_sync AND j.plan ? 'sync';

-- ---- What the proof keeps, by which a job knows that nothing is left to do.

ALTER TABLE backfill.range
  ADD COLUMN nulls bigint NOT NULL DEFAULT 0;        -- rows of this pass whose value the clause makes NULL: done, though they meet where_clause

ALTER TABLE backfill.job
  ADD COLUMN guard_looked_at timestamptz,            -- when no row broke the constraints that are to be added
  ADD COLUMN unfinished boolean NOT NULL DEFAULT false;  -- there may be a constraint or an index of it that isn't what enforce says yet
ALTER TABLE backfill.job
  ADD COLUMN ended_by name,                          -- who asked for cancel, finish or undo when the login that had submitted it was gone:
  ADD COLUMN ended_as name,                          -- the login, and the role
  ADD COLUMN stopped_by name,                        -- who has paused or cancelled another's job, by the rights of the table's owner
  DROP CONSTRAINT job_wanted_check,
  ADD CONSTRAINT job_wanted_check CHECK (wanted IN ('run', 'pause', 'cancel', 'finish', 'undo'));

CREATE INDEX job_unfinished ON backfill.job (id) WHERE unfinished AND state IN ('paused', 'queued', 'failed');

-- ---- Since when a job has had the chance to come on: what is older than that is no stall.

ALTER TABLE backfill.job
  ADD COLUMN phase_at timestamptz,   -- when a daemon took it, or its phase or pass began, whichever was later
  ADD COLUMN walk bigint;            -- the number of the phase or pass that began last: another for each

-- ---- Nobody's priority is above all others': who queues longer goes first among equals.

UPDATE backfill.job j SET priority = greatest(-100, least(100, j.priority)) WHERE j.priority NOT BETWEEN -100 AND 100;
ALTER TABLE backfill.job ADD CONSTRAINT job_priority_check CHECK (priority BETWEEN -100 AND 100);

-- ---- Whose rights: roles by their OIDs, and what nobody can show but the worker that a job was given to.

-- submitted_by, owner, ended_by and ended_as are names, for reading: what counts are the OIDs. A role that was dropped and made again under
-- a name is another one, a role that was renamed the same. A restored job has OIDs of elsewhere: there the names count, until it is taken
-- over (backfill.role_here).
ALTER TABLE backfill.job
  ADD COLUMN submitted_by_oid oid,
  ADD COLUMN owner_oid        oid,
  ADD COLUMN ended_by_oid     oid,
  ADD COLUMN ended_as_oid     oid,
  ADD COLUMN asked            text CHECK (asked IN ('retry', 'forget')),  -- by an UPDATE, of a job that has ended; never kept
  ADD COLUMN again            bigint;  -- how many rows that were left behind the last retry has taken up
ALTER TABLE backfill.range
  ADD COLUMN submitted_by_oid oid;     -- who may checkpoint
ALTER TABLE backfill.left_behind
  ADD COLUMN epoch bigint;             -- under which the row was last given to a worker, to be tried again

UPDATE backfill.job j
   SET submitted_by_oid = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = j.submitted_by),
       owner_oid        = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = j.owner),
       ended_by_oid     = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = j.ended_by),
       ended_as_oid     = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = j.ended_as);
-- An epoch is drawn, no more counted: who can't read it can't tell it.
ALTER TABLE backfill.range ALTER COLUMN epoch DROP DEFAULT;
UPDATE backfill.range g
   SET submitted_by_oid = j.submitted_by_oid,
       epoch = ('x' || pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256(pg_catalog.uuid_send(pg_catalog.gen_random_uuid())), 1, 8), 'hex'))::bit(64)::bigint & 9223372036854775807
  FROM backfill.job j
 WHERE j.id = g.job_id;

-- By what the functions that act beyond a session's own rights know that it is a job's worker who calls, and no code of others that the login
-- has only happened to call, in this session or in another (code_1_callers.sql). The schema's owner alone may read it.
CREATE TABLE backfill.token (
  job_id bigint NOT NULL REFERENCES backfill.job ON DELETE CASCADE,
  slot   integer NOT NULL DEFAULT 0 CHECK (slot BETWEEN 0 AND 63),  -- 0: of the daemon that holds the job; else a helper's: code_4_helpers.sql
  token  bigint NOT NULL UNIQUE,  -- drawn when a daemon takes the job; its session shows it once, before any code of others has run there
  worker integer,                 -- the pid of that session,
  since  timestamptz,             -- and when it began
  ticket bigint,                  -- what functions hand each other within a transaction that one of them has begun
  pinned text[],                  -- what that session's settings are: backfill.settings_now
  own    jsonb,                   -- and others that the job names
  mark   text,                    -- by which the trigger of keep_in_sync knows a batch of the job: code_4_sync.sql
  words    text[],                -- of its clauses, and what they were names of when a session looked last: code_4_sync_meaning.sql
  reads    oid[],
  types    oid[],
  names    text,
  holder_pid   integer,           -- of a helper: the control session of its daemon, as in backfill.job
  holder_start timestamptz,
  PRIMARY KEY (job_id, slot)
);
CREATE INDEX token_of_worker ON backfill.token (worker);
COMMENT ON TABLE backfill.token IS 'who the workers of a job are: nobody''s to read';

-- ---- Names of jobs that are being inserted: always empty, but for transactions that are not over (backfill.claim_name).

CREATE UNLOGGED TABLE backfill.claimed_name (name text PRIMARY KEY);
COMMENT ON TABLE backfill.claimed_name IS 'who inserts a job waits here for another transaction that does, under the same name; nobody''s to read';

-- ---- What a job without a where_clause has seen, by which it can tell what it hasn't.

ALTER TABLE backfill.job
  ADD COLUMN laid_out oid[];                         -- the leaves of its table when its ranges were laid out; NULL: not known
ALTER TABLE backfill.range
  ADD COLUMN gone bigint NOT NULL DEFAULT 0;         -- rows that were put aside as locked, and that the statement didn't find when they were tried again

-- ---- A large relation is many ranges, which several sessions walk.

ALTER TABLE backfill.range
  ADD COLUMN starts text[],                          -- exclusive: where a pass begins; NULL: at the first row
  ADD COLUMN walker integer,                         -- the slot of who has taken it: backfill.token; NULL: nobody
  ADD COLUMN walker_since timestamptz,
  ADD COLUMN for_holder boolean NOT NULL DEFAULT false;  -- a helper has met something there: it is for who holds the job to judge
ALTER TABLE backfill.job
  ADD COLUMN planning boolean NOT NULL DEFAULT false,  -- a pass is being laid out: until it begins, its ranges are nobody's to take but the holder's
  ADD COLUMN behind oid[];                           -- the pass is planned up to that relation, in the order of their OIDs, and of the second one; NULL: all of it (backfill.plan_on)
CREATE INDEX range_walked ON backfill.range (job_id, walker) WHERE NOT done AND walker IS NOT NULL;
DROP INDEX backfill.range_once;
CREATE UNIQUE INDEX range_once ON backfill.range (job_id, relation, starts) NULLS NOT DISTINCT WHERE lower IS NULL;  -- planned once, however often it is sent

CREATE INDEX job_queued_on ON backfill.job (root) WHERE state = 'queued';
CREATE INDEX job_ended ON backfill.job (finished_at, id) WHERE state IN ('succeeded', 'failed', 'cancelled');

CREATE TYPE backfill.work AS (ticket bigint, pinned text[], own jsonb, in_step boolean, words text[], reads oid[], types oid[], names text, target oid);
COMMENT ON TYPE backfill.work IS 'what begins a transaction of a worker: backfill.begin_work';
