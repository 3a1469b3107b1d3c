-- What the proof keeps, by which a job knows that nothing is left to do.

ALTER TABLE backfill.range
  ADD COLUMN nulls bigint NOT NULL DEFAULT 0,        -- rows of this pass whose value the clause makes NULL: done, though they meet where_clause
  ADD COLUMN reads boolean NOT NULL DEFAULT false;   -- the pass reads the table's pages, and changes nothing: cursor is {ctid, filenode}, found what is to do

ALTER TABLE backfill.job
  ADD COLUMN guard_looked_at timestamptz,            -- when no row broke the constraints that are to be added
  ADD COLUMN unfinished boolean NOT NULL DEFAULT false;  -- there may be a constraint or an index of it that isn't what enforce says yet
ALTER TABLE backfill.job
  ADD COLUMN ended_by name,                          -- who asked for cancel, finish or undo when the login that had submitted it was gone:
  ADD COLUMN ended_as name,                          -- the login, and the role
  DROP CONSTRAINT job_wanted_check,
  ADD CONSTRAINT job_wanted_check CHECK (wanted IN ('run', 'pause', 'cancel', 'finish', 'undo'));

CREATE INDEX job_unfinished ON backfill.job (id) WHERE unfinished AND state IN ('paused', 'queued', 'failed');
