-- What keeps old and new code in step: the way back, and the settings under which a clause gives the same value whoever writes.

ALTER TABLE backfill.job
  ADD COLUMN sync_back text,                         -- what new code writes into the new column reaches the old one
  ADD COLUMN session jsonb NOT NULL DEFAULT '{}';    -- captured from the inserting session: settings that values depend on

-- A trigger of an earlier version is made anew, under names of its own, when its job goes on.
UPDATE backfill.job j
   SET plan = jsonb_set(j.plan, '{sync}', jsonb_build_object(
                'token', left(md5(j.id || gen_random_uuid()::text), 12), 'rest', '[]'::jsonb, 'asked', '[]'::jsonb, 'not_null', '[]'::jsonb, 'defaults', '{}'::jsonb, 'self', false,
                'mode', CASE WHEN j.where_clause IS NULL THEN 'all' WHEN j.plan -> 'sync' ->> 'where' IS NULL THEN 'null' ELSE 'where' END))
 WHERE j.keep_in_sync AND j.plan ? 'sync';
