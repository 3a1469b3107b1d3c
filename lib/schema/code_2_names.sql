-- Names of jobs that are used already.

-- A job that comes again under its name, as with ON CONFLICT (name) DO NOTHING, must be the same: another would else be taken for done, and
-- never run. Blanks don't count, nor does what may be changed while it runs.
CREATE OR REPLACE FUNCTION backfill.check_same(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  there   backfill.job;
  differs text;
BEGIN
  SELECT * INTO there FROM backfill.job j WHERE j.name = job.name;
  IF there.target <> job.target THEN
    differs := 'target ' || coalesce(backfill.relation_name(there.target), 'a table that was dropped');
  ELSE
    SELECT format('%s %s', c.name, coalesce(quote_literal(CASE WHEN length(c.was) > 60 THEN left(c.was, 57) || '...' ELSE c.was END), 'NULL')) INTO differs
      FROM (VALUES (1, 'add_column', there.add_column, job.add_column), (2, 'set_clause', there.set_clause, job.set_clause),
                   (3, 'where_clause', there.where_clause, CASE WHEN job.where_clause IS NULL AND job.add_column IS NOT NULL THEN there.where_clause ELSE job.where_clause END),
                   (4, 'statement', there.statement, job.statement), (5, 'keep_in_sync', there.keep_in_sync::text, job.keep_in_sync::text),
                   (6, 'sync_back', there.sync_back, job.sync_back), (7, 'enforce', array_to_string(there.enforce, ', '), array_to_string(job.enforce, ', ')),
                   (8, 'drop_column', there.drop_column, job.drop_column), (9, 'ignore', array_to_string(there.ignore, ', '), array_to_string(job.ignore, ', ')),
                   (10, 'dry_run', there.dry_run::text, job.dry_run::text)) AS c(ord, name, was, now)
     WHERE btrim(regexp_replace(c.was, '\s+', ' ', 'g')) IS DISTINCT FROM btrim(regexp_replace(c.now, '\s+', ' ', 'g'))
     ORDER BY c.ord LIMIT 1;
  END IF;
  IF differs IS NOT NULL THEN
    PERFORM backfill.refuse('name', format('there is another job "%s": it has %s', job.name, differs),
      format('Give this one another name; or, where it is to take the place of that one%s, %sSELECT backfill.forget(%L) first.', CASE there.state WHEN 'succeeded' THEN ', which has succeeded' WHEN 'failed' THEN ', which has failed' WHEN 'cancelled' THEN ', which was cancelled' END,
             CASE WHEN there.wanted <> 'finish' AND backfill.added_column(there) IS NOT NULL THEN format('SELECT backfill.undo(%L), which drops the column that it has filled, and ', job.name)
                  WHEN there.state NOT IN ('succeeded', 'failed', 'cancelled') THEN format('SELECT backfill.cancel(%L), then ', job.name) ELSE '' END, job.name), '23505');
  END IF;
END
$$;

-- Who inserts a job waits for another transaction that has inserted one of that name and isn't over: as long as its lock_timeout says, or for some
-- seconds, and then says so. The unique index of the names would wait without end, and its error be the server's. The row is gone at once; but
-- until the transaction is over, who inserts another waits to see whether it was there. What comes after sees what the other has committed.
-- By a trigger, which nobody can call for names that they don't insert (backfill.check_own_trigger).
CREATE OR REPLACE FUNCTION backfill.claim_name() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own constant text := current_setting('lock_timeout');
BEGIN
  PERFORM backfill.check_own_trigger(TG_RELID);
  IF own::interval = interval '0' THEN
    PERFORM set_config('lock_timeout', '5s', true);
  END IF;
  INSERT INTO backfill.claimed_name VALUES (NEW.name) ON CONFLICT DO NOTHING;
  DELETE FROM backfill.claimed_name c WHERE c.name = NEW.name;
  PERFORM set_config('lock_timeout', own, true);
  RETURN NEW;
EXCEPTION WHEN lock_not_available THEN
  RAISE EXCEPTION 'name: another transaction, which isn''t over, inserts a job "%"', NEW.name
    USING ERRCODE = '55P03', HINT = 'Wait until it is, and insert the job again. It is one of these: SELECT pid, usename, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL; or of these: SELECT * FROM pg_prepared_xacts.';
END
$$;
CREATE OR REPLACE TRIGGER job_before_all BEFORE INSERT ON backfill.job  -- the second; one without a name gets one that nobody else can have
  FOR EACH ROW WHEN (NEW.submitted_by IS NULL AND octet_length(NEW.name) <= 1000) EXECUTE FUNCTION backfill.claim_name();

-- Which names a statement inserts is noted, and at its end it is looked at whether they are there, and the caller's: another role may have
-- inserted the same in a transaction that was not over when is_taken was asked. The server then waits for it, and with ON CONFLICT DO NOTHING
-- says nothing.
CREATE OR REPLACE FUNCTION backfill.note_names() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  another text;
BEGIN
  IF TG_LEVEL = 'ROW' THEN
    IF NEW.submitted_by_oid IS NOT NULL THEN  -- else it is restored from a dump
      PERFORM set_config('backfill.names', current_setting('backfill.names', true) || NEW.name || chr(10), true);
    END IF;
    RETURN NEW;
  END IF;
  IF TG_WHEN = 'AFTER' THEN
    SELECT n.name INTO another
      FROM string_to_table(rtrim(current_setting('backfill.names', true), chr(10)), chr(10)) AS n(name)
     WHERE n.name <> '' AND NOT backfill.is_own_name(n.name) AND backfill.is_taken(n.name)
     LIMIT 1;
  END IF;
  PERFORM set_config('backfill.names', '', true);
  IF another IS NOT NULL THEN
    RAISE EXCEPTION 'name: "%" is the name of another role''s job, which was inserted at the same time', another
      USING ERRCODE = '23505', HINT = 'Give it another name, or none. Whoever has the rights of pg_monitor sees whose it is.';
  END IF;
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER job_names_begin BEFORE INSERT ON backfill.job FOR EACH STATEMENT EXECUTE FUNCTION backfill.note_names();
CREATE OR REPLACE TRIGGER job_names_note BEFORE INSERT ON backfill.job FOR EACH ROW EXECUTE FUNCTION backfill.note_names();
CREATE OR REPLACE TRIGGER job_names_there AFTER INSERT ON backfill.job FOR EACH STATEMENT EXECUTE FUNCTION backfill.note_names();
