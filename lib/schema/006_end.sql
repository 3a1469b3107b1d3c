-- Since when a job has had the chance to come on: what is older than that is no stall.

ALTER TABLE backfill.job
  ADD COLUMN phase_at timestamptz;   -- when a daemon took it, or its phase or pass began, whichever was later
