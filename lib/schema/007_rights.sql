-- Whose rights: roles by their OIDs, and what nobody can show but the worker that a job was given to.

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

-- A number that the daemon draws when it takes a job, and gives to its worker's session alone: by it the functions that act beyond that
-- session's own rights know that it is the job's worker who calls, and no code of others that the login has only happened to call.
-- The schema's owner alone may read it.
CREATE TABLE backfill.token (
  job_id bigint PRIMARY KEY REFERENCES backfill.job ON DELETE CASCADE,
  token  bigint NOT NULL UNIQUE
);
COMMENT ON TABLE backfill.token IS 'what the worker of a job shows: nobody''s to read';
