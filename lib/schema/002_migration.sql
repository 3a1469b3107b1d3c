-- What a job that is a whole migration of a column keeps besides.

ALTER TABLE backfill.job
  ADD COLUMN plan jsonb NOT NULL DEFAULT '{}',       -- what its clauses mean, as the server read them: code_2_plan.sql
  ADD COLUMN tidy boolean NOT NULL DEFAULT false,    -- there may be something of it in the table that goes when it is finished or cancelled
  ADD COLUMN before jsonb,                           -- the table's definition and its statements when the job began ...
  ADD COLUMN after jsonb;                            -- ... and its statements when it ended

-- What a daemon looks for besides: jobs that have ended, of which something must go.
CREATE INDEX job_untidy ON backfill.job (id) WHERE tidy AND state IN ('succeeded', 'failed', 'cancelled');

ALTER TABLE backfill.range
  ADD COLUMN found bigint NOT NULL DEFAULT 0;        -- rows changed in this pass; a job that verifies makes several

ALTER TABLE backfill.left_behind
  DROP CONSTRAINT left_behind_reason_check,
  ADD CONSTRAINT left_behind_reason_check CHECK (reason IN ('locked', 'error', 'duplicate'));
