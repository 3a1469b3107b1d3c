-- The steps of a migration, as the worker's session runs them: as the table's owner, with a lock_timeout of some milliseconds.

-- A job that has ended, but of which something is to be taken out of its table: it was cancelled, or its owner has finished it. Of a
-- restored one nothing is taken out before its owner wants it here.
CREATE OR REPLACE FUNCTION backfill.is_untidy(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT job.tidy AND backfill.is_here(job) AND (job.state = 'cancelled' OR (job.state IN ('succeeded', 'failed') AND job.wanted = 'finish'))
$$;

-- Whether a step of a phase is still to be done: the job may have been cancelled, or taken on, by now.
CREATE OR REPLACE FUNCTION backfill.step_is_wanted(job_id bigint, phase text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM backfill.job j
                  WHERE j.id = job_id AND j.submitted_by = session_user
                    AND CASE WHEN step_is_wanted.phase = 'tidy' THEN backfill.is_untidy(j) ELSE j.state = 'running' AND j.phase = step_is_wanted.phase END)
$$;

-- Runs the commands of one step in one transaction. They name the relation as it is called; when another one stands under that
-- name by now, or the step is not wanted any more, BF001 undoes them. Asked at the end, when the commands have locked what they
-- found.
CREATE OR REPLACE FUNCTION backfill.run_step(job_id bigint, phase text, commands text[], relation oid, name text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  command text;
BEGIN
  FOREACH command IN ARRAY commands LOOP
    EXECUTE command;
  END LOOP;
  IF pg_catalog.to_regclass(name) <> relation::regclass THEN
    RAISE EXCEPTION '% is another table now', name
      USING ERRCODE = 'BF001', HINT = 'The one that the job is for was renamed; this step was undone.';
  ELSIF NOT backfill.step_is_wanted(job_id, phase) THEN
    RAISE EXCEPTION 'job % is not in phase % any more', job_id, phase USING ERRCODE = 'BF001', HINT = 'This step was undone.';
  END IF;
END
$$;
