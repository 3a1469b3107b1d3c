-- The control schema's tables. This file runs once; later changes of tables are files with higher numbers.
-- Functions, triggers, the view and all rights are in code_*.sql, which each --install runs anew.

CREATE SCHEMA backfill;
COMMENT ON SCHEMA backfill IS 'backfilld: jobs that fill columns of live tables';

CREATE TABLE backfill.installed (
  version      integer     NOT NULL,  -- the highest numbered file that has run
  checksum     text        NOT NULL,  -- of all of this program's schema files
  installed_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX installed_once ON backfill.installed ((true));
COMMENT ON TABLE backfill.installed IS 'one row: which version of the schema this is';

CREATE TABLE backfill.job (
  id            bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  name          text        NOT NULL UNIQUE CHECK (name ~ '^[^[:cntrl:]]+$'),
  target        regclass    NOT NULL,
  add_column    text,
  set_clause    text,
  where_clause  text,
  statement     text,
  keep_in_sync  boolean     NOT NULL DEFAULT false,
  enforce       text[],
  drop_column   text,
  scan          text        NOT NULL DEFAULT 'auto' CHECK (scan IN ('auto', 'key', 'ctid')),
  key           text[],
  dry_run       boolean     NOT NULL DEFAULT false,

  -- overrides of the file, which may be changed while the job runs
  priority      integer     NOT NULL DEFAULT 0,
  workers       integer     CHECK (workers BETWEEN 1 AND 64),
  target_ms     integer     CHECK (target_ms BETWEEN 1 AND 10000),
  max_rows_per_s integer    CHECK (max_rows_per_s > 0),
  max_lag       interval    CHECK (max_lag > interval '0'),
  throttle_off  text[],
  on_error      text        NOT NULL DEFAULT 'fail' CHECK (on_error IN ('fail', 'quarantine')),
  active_hours  text,                  -- grammar in code_2_hours.sql

  settings      jsonb       CHECK (jsonb_typeof(settings) = 'object'),
  ignore        text[],
  wanted        text        NOT NULL DEFAULT 'run' CHECK (wanted IN ('run', 'pause', 'cancel', 'finish')),

  -- captured from the inserting session
  submitted_by  name        NOT NULL,
  owner         name        NOT NULL,
  search_path   text        NOT NULL,
  time_zone     text        NOT NULL,
  date_style    text        NOT NULL,
  root          regclass    NOT NULL,  -- the topmost partitioned table above target, or target: one job at a time on it

  -- the daemon's
  state         text        NOT NULL DEFAULT 'queued'
                CHECK (state IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
  phase         text        NOT NULL DEFAULT 'preflight'
                CHECK (phase IN ('preflight', 'expand', 'backfill', 'guard', 'verify', 'validate')),
  error         text,
  hint          text,
  waiting_for   text,                  -- why a running job does not move just now, or a queued one is passed over
  opens_at      timestamptz,           -- no daemon takes the job before: it is outside its active_hours
  report        jsonb,
  estimate      bigint,                -- keys there are in all ranges, as the planner guessed
  holder_pid    integer,               -- the control session of the daemon that runs it ...
  holder_start  timestamptz,           -- ... and when that session began: a pid alone may be used again
  submitted_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at    timestamptz,
  finished_at   timestamptz
);
-- What a daemon looks for: the next job to claim, and which tables are taken.
CREATE INDEX job_queue ON backfill.job (priority DESC, id) WHERE state = 'queued';
CREATE INDEX job_opening ON backfill.job (opens_at) WHERE state = 'queued' AND opens_at IS NOT NULL;
CREATE UNIQUE INDEX job_running ON backfill.job (root) WHERE state = 'running';  -- never two jobs on one table

CREATE TABLE backfill.range (
  id            bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  job_id        bigint      NOT NULL REFERENCES backfill.job ON DELETE CASCADE,
  submitted_by  name        NOT NULL,  -- the job's: who may checkpoint
  relation      regclass    NOT NULL,
  key           smallint[]  NOT NULL,  -- column numbers, so that a renamed column is still the key
  lower         text[],                -- exclusive; NULL: from the first row
  upper         text[]      NOT NULL,  -- inclusive
  cursor        text[],                -- all up to here is done; NULL: nothing yet
  keys          bigint      NOT NULL DEFAULT 0,  -- scanned
  rows          bigint      NOT NULL DEFAULT 0,  -- changed
  batches       bigint      NOT NULL DEFAULT 0,
  wal_bytes     bigint      NOT NULL DEFAULT 0,  -- written by all sessions while batches ran: at most that much is the job's
  epoch         bigint      NOT NULL DEFAULT 0,  -- rises each time that a worker takes the range
  rate          real,                  -- keys a second, as the daemon last measured
  checkpoint_at timestamptz,
  done          boolean     NOT NULL GENERATED ALWAYS AS (cursor IS NOT NULL AND cursor = upper) STORED
) WITH (fillfactor = 50);
-- Every batch updates its row: no indexed column changes but "done" at the end, so that these are HOT.
CREATE INDEX range_to_do ON backfill.range (job_id, id) WHERE NOT done;
CREATE UNIQUE INDEX range_once ON backfill.range (job_id, relation) WHERE lower IS NULL;  -- planned once, however often it is sent
CREATE INDEX range_of_job ON backfill.range (job_id);
COMMENT ON COLUMN backfill.range.lower IS
  'exclusive; equal to upper, the range is that one key: a row that was left behind and is tried again';

CREATE TABLE backfill.left_behind (
  id            bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  job_id        bigint      NOT NULL REFERENCES backfill.job ON DELETE CASCADE,
  range_id      bigint      NOT NULL,  -- that it was put aside of, whose counts it belongs to
  relation      regclass    NOT NULL,
  key_columns   smallint[]  NOT NULL,
  key           text[]      NOT NULL,
  reason        text        NOT NULL CHECK (reason IN ('locked', 'error')),
  sqlstate      text,
  message       text,
  detail        text,
  left_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX left_behind_of_job ON backfill.left_behind (job_id);
CREATE INDEX left_behind_locked ON backfill.left_behind (job_id, id) WHERE reason = 'locked';  -- what a job tries again
