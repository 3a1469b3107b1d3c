-- Who may what. The schema's owner is the daemon's role; row-level security does not hold it back.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'backfill_submitter') THEN
    CREATE ROLE backfill_submitter NOLOGIN;
  END IF;
EXCEPTION
  WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'role backfill_submitter does not exist, and % may not create it', current_user
      USING ERRCODE = '42501', HINT = 'As a superuser: CREATE ROLE backfill_submitter NOLOGIN; then run --install again.';
  WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database's --install was first
END
$$;

GRANT USAGE ON SCHEMA backfill TO backfill_submitter, pg_monitor;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA backfill FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA backfill FROM PUBLIC;

GRANT SELECT ON backfill.job, backfill.status, backfill.watch, backfill.installed TO backfill_submitter, pg_monitor;
GRANT SELECT ON backfill.range TO backfill_submitter;  -- own_ranges
REVOKE SELECT ON backfill.range FROM pg_monitor;  -- the keys at its ends and its cursor are values of rows
GRANT SELECT (id, job_id, submitted_by, relation, key, keys, rows, batches, wal_bytes, rate, checkpoint_at, done, found, home, key_identity, nulls, submitted_by_oid, gone, walker, walker_since, for_holder) ON backfill.range TO pg_monitor;
GRANT SELECT ON backfill.left_behind, backfill.job_figures, backfill.taken_here TO backfill_submitter, pg_monitor;
GRANT SELECT ON backfill.job_beside TO backfill_submitter;
GRANT INSERT (name, target, add_column, set_clause, where_clause, statement, keep_in_sync, sync_back, enforce, drop_column, scan, key,
              dry_run, priority, workers, target_ms, max_rows_per_s, max_lag, throttle_off, on_error, active_hours, settings, ignore, wanted)
   ON backfill.job TO backfill_submitter;
GRANT UPDATE (wanted, priority, workers, target_ms, max_rows_per_s, max_lag, throttle_off, on_error, active_hours, asked)
   ON backfill.job TO backfill_submitter;

-- The checks at INSERT and the worker's functions run as the submitter.
GRANT EXECUTE ON FUNCTION
  backfill.base_type, backfill.relation_name, backfill.check_is_there, backfill.key_of, backfill.restored, backfill.take_over, backfill.read_here, backfill.read_anew, backfill.publications_of,
  backfill.collation_order, backfill.row_operator, backfill.constant, backfill.whose_type, backfill.key_values, backfill.check_key, backfill.key_for, backfill.is_too_rich, backfill.has_no_meaning, backfill.same_here, backfill.check_domains, backfill.is_users_type, backfill.key_text, backfill.key_value, backfill.key_kind, backfill.exact_key, backfill.position_text, backfill.position_of, backfill.check_collations,
  backfill.batch_condition, backfill.between_positions, backfill.up_to_position, backfill.skip_condition, backfill.relation_in_clauses,
  backfill.yield_condition, backfill.can_yield, backfill.place_batch,
  backfill.read_token, backfill.tokens, backfill.check_sizes, backfill.is_closed, backfill.split_item, backfill.acting_owner,
  backfill.next_token, backfill.split_at, backfill.trim_sql, backfill.within_brackets, backfill.assigned_column, backfill.assignments_of,
  backfill.tokens_of, backfill.is_read_slowly, backfill.without_brackets, backfill.joined_by, backfill.asked_for_null, backfill.filled_columns,
  backfill.condition_of, backfill.whole_look, backfill.statements, backfill.relations_of, backfill.kin_of, backfill.takes_no_null, backfill.walks_parent, backfill.laid_out_now, backfill.partitions_of, backfill.key_numbers,
  backfill.has_column, backfill.asks_only_null, backfill.check_combination, backfill.check_ignore, backfill.check_drop_column, backfill.noted_drop, backfill.noted_columns, backfill.items_now, backfill.column_now, backfill.holds_alone, backfill.take_out_now, backfill.other_column, backfill.check_columns, backfill.copy_statement,
  backfill.read_column, backfill.read_sync,
  backfill.other_constraint, backfill.constraint_name, backfill.check_given_name, backfill.has_constraint, backfill.check_schema_right,
  backfill.read_constraint, backfill.make_plan, backfill.check_batch, backfill.plan_leaves_out, backfill.check_bound, backfill.check_batch_ahead, backfill.own_job,
  backfill.make_copy, backfill.copy_more, backfill.measure_batch, backfill.all_fail, backfill.clause_that_changes_nothing, backfill.plan_in_words, backfill.old_sync_name,
  backfill.session_settings, backfill.sync_token, backfill.number_in_names, backfill.sync_name, backfill.back_name, backfill.sync_owners, backfill.sync_functions, backfill.sync_types, backfill.sync_triggers, backfill.own_batch, backfill.derived_table, backfill.null_columns, backfill.null_parts, backfill.missing_column,
  backfill.target_type, backfill.default_of, backfill.never_null, backfill.value_of, backfill.computed_values, backfill.typed_values, backfill.sync_reads, backfill.other_syncs, backfill.check_other_syncs, backfill.orphaned_trigger, backfill.downstream_of, backfill.check_chain, backfill.checks_on, backfill.make_breaks, backfill.check_default, backfill.assigned_values, backfill.row_function, backfill.columns_read, backfill.columns_of_function, backfill.function_traits, backfill.type_depends_on_role, backfill.depends_on_role, backfill.breaks_on,
  backfill.constant_defaults, backfill.check_sync_clause, backfill.has_constant_places, backfill.check_columns_alone, backfill.check_text, backfill.left_out, backfill.left_out_of, backfill.default_places, backfill.fills_beside, backfill.asks_beside, backfill.undone, backfill.undone_by, backfill.moving_columns, backfill.was_null, backfill.moved_by, backfill.part_of, backfill.row_of_clause, backfill.some_unwritten, backfill.wanted_in, backfill.all_wanted, backfill.row_call, backfill.row_arguments, backfill.sync_places, backfill.sync_wanted, backfill.sync_assignments, backfill.sync_lines, backfill.sync_least, backfill.sync_marked, backfill.is_asked, backfill.sync_rescue, backfill.alone, backfill.sync_missing, backfill.in_quotes, backfill.given_before, backfill.place_in, backfill.has_several, backfill.row_fault, backfill.custom_settings, backfill.sync_body, backfill.row_of,
  backfill.watched_columns, backfill.sync_sources, backfill.trigger_commands, backfill.called_elsewhere, backfill.compare_values, backfill.path_of_function, backfill.loose_function, backfill.pin_settings, backfill.path_names, backfill.is_open_path, backfill.tree_of, backfill.runs_text, backfill.uses_table, backfill.reached_by, backfill.who_creates_in, backfill.danger_of, backfill.keep_to_owner, backfill.make_row_function, backfill.make_changed, backfill.make_default, backfill.make_mine, backfill.make_there, backfill.make_moved, backfill.make_row_functions,
  backfill.try_sync, backfill.give_to_owner, backfill.row_clauses, backfill.words_of, backfill.names_of, backfill.names_now, backfill.meaning_of, backfill.other_meaning, backfill.note_meaning, backfill.check_meaning, backfill.make_sync, backfill.drop_sync_commands, backfill.replacer_of, backfill.sync_danger, backfill.is_sync_too_long, backfill.row_cast, backfill.sync_seal, backfill.clashes_of, backfill.sync_conflict, backfill.check_undo_column, backfill.sync_change, backfill.refuse_change, backfill.batch_values, backfill.called_clause, backfill.clause_for, backfill.argument_name, backfill.called_value, backfill.called_condition, backfill.asks_names, backfill.called_function, backfill.check_labels, backfill.tidied_by, backfill.is_of_target, backfill.check_leaf, backfill.labels_condition, backfill.spelled_names, backfill.noted_where, backfill.check_spelled, backfill.check_key_names, backfill.looks_at_all, backfill.statement_tag, backfill.key_meaning, backfill.key_operands, backfill.types_in, backfill.text_meaning, backfill.same_labels, backfill.reckoning_of, backfill.rows_per_page, backfill.pages_ahead, backfill.check_called, backfill.may_move, backfill.rows_aside, backfill.null_is_done, backfill.columns_to_fill, backfill.forbidden_columns, backfill.gives_null, backfill.most_at_once, backfill.hold_beside, backfill.sync_trouble, backfill.step_is_wanted, backfill.run_step,
  backfill.look_for_rows, backfill.check_new_column, backfill.hold_tree, backfill.names_here, backfill.note_item_names, backfill.check_item_names, backfill.noted_here, backfill.check_reference, backfill.parts_of_reference, backfill.referenced_table, backfill.named_relation, backfill.breaks_item, backfill.equality_of, backfill.note_look, backfill.wait_aside, backfill.check_builder, backfill.check_index,
  backfill.token_places, backfill.normal_sql, backfill.names_in, backfill.stand_in, backfill.split_column,
  backfill.rule_of_type, backfill.check_added_type, backfill.stranger_of_type, backfill.noted, backfill.is_noted, backfill.type_under, backfill.type_name, backfill.check_column, backfill.constraint_says, backfill.is_promised, backfill.parse_item, backfill.column_type,
  backfill.check_referenced, backfill.normal_check, backfill.same_check, backfill.checks_of, backfill.make_item, backfill.check_may_constrain, backfill.note_constraint,
  backfill.table_in_clauses, backfill.check_clauses_ahead, backfill.check_ahead, backfill.assignments_ahead, backfill.can_assign, backfill.check_assignable,
  backfill.check_lasting, backfill.is_trouble, backfill.refuse_clause, backfill.refuse_hidden, backfill.check_places, backfill.check_assigned, backfill.updated_by, backfill.check_settings,
  backfill.check_elsewhere, backfill.check_row_security, backfill.check_may_write, backfill.check_rules, backfill.check_can_update, backfill.updates_nothing, backfill.batch_place, backfill.count_places,
  backfill.refuse, backfill.plan, backfill.check_plan, backfill.check_clauses, backfill.check_operators, backfill.choose_scan, backfill.check_throttle_off, backfill.check_target,
  backfill.check_job, backfill.change_job, backfill.check_finish, backfill.parse_active_hours, backfill.check_active_hours, backfill.active_hours_now, backfill.hours_of,
  backfill.keep_hours,
  backfill.checkpoint, backfill.check_brake, backfill.run_statement, backfill.check_name, backfill.hold_name, backfill.check_place, backfill.find_key, backfill.refuse_row, backfill.read_batch, backfill.run_rows, backfill.us_since, backfill.run_batch, backfill.plan_reads_all, backfill.leaves_out_first, backfill.look_at_all, backfill.cuts_of, backfill.survey,
  backfill.table_lock, backfill.changes_key, backfill.row_lock, backfill.prepared_name, backfill.holders_of, backfill.holders_beside, backfill.lock_free_rows, backfill.locked_by, backfill.take_row,
  backfill.try_row, backfill.slow_cause, backfill.try_neighbours,
  backfill.rows_done, backfill.held_ids, backfill.retry_rows,
  backfill.want, backfill.pause, backfill.pause_all, backfill.check_backslashes, backfill.check_values, backfill.can_be_told, backfill.refuse_to_steer, backfill.resume, backfill.cancel, backfill.finish, backfill.undo, backfill.forget, backfill.retry,
  backfill.begin_session, backfill.begin_work, backfill.setting_names, backfill.settings_now, backfill.main_settings_now, backfill.own_settings_now, backfill.changed_settings,
  backfill.is_taken, backfill.check_own_name, backfill.check_outside, backfill.check_session, backfill.restore_session, backfill.check_prepared, backfill.limit_session, backfill.note_limits,
  backfill.captured, backfill.is_wanted_here, backfill.check_asked, backfill.has_left_something, backfill.had_column, backfill.random_number, backfill.check_login,
  backfill.kept_columns, backfill.kept_clause, backfill.missing_right, backfill.check_same, backfill.check_stop, backfill.is_not_asked, backfill.is_own_name
  TO backfill_submitter;
-- The policies ask them, and who looks at a job.
GRANT EXECUTE ON FUNCTION backfill.home, backfill.is_here, backfill.is_of_schema, backfill.role_oid, backfill.role_name, backfill.is_plain_caller, backfill.login, backfill.role_here, backfill.login_of, backfill.role_of,
  backfill.is_left_over, backfill.what_now, backfill.login_is_there, backfill.who_is_gone, backfill.login_is_gone, backfill.may_steer, backfill.may_end, backfill.job_named, backfill.did_you_mean, backfill.is_done, backfill.effect, backfill.look_at, backfill.definition_of,
  backfill.word_pattern, backfill.may_see_statements, backfill.ask_statements, backfill.statements_on, backfill.between_looks, backfill.three_times, backfill.steps, backfill.is_not_null
  TO backfill_submitter, pg_monitor;
GRANT EXECUTE ON FUNCTION backfill.no_commit_here, backfill.short_time, backfill.two_lines, backfill.is_busy, backfill.is_served, backfill.figures_of, backfill.not_valid_of,
  backfill.sees, backfill.owns_table, backfill.may_write, backfill.is_untidy, backfill.takes_all, backfill.gives_up, backfill.has_remains, backfill.relation_name, backfill.has_sync, backfill.drop_sync_commands,
  backfill.sync_triggers, backfill.sync_owners, backfill.sync_functions, backfill.sync_types, backfill.sync_token, backfill.number_in_names, backfill.sync_name, backfill.back_name, backfill.old_sync_name, backfill.has_column, backfill.had_column, backfill.out_of_step, backfill.undo_first, backfill.check_column_there, backfill.taken_for_right, backfill.has_pages, backfill.added_column
  TO backfill_submitter, pg_monitor;
GRANT EXECUTE ON PROCEDURE backfill.wait TO backfill_submitter, pg_monitor;

ALTER TABLE backfill.job ENABLE ROW LEVEL SECURITY;
ALTER TABLE backfill.range ENABLE ROW LEVEL SECURITY;
ALTER TABLE backfill.left_behind ENABLE ROW LEVEL SECURITY;

DROP POLICY IF EXISTS own_jobs ON backfill.job;
DROP POLICY IF EXISTS see_all ON backfill.job;
DROP POLICY IF EXISTS tables_owner ON backfill.job;
DROP POLICY IF EXISTS tables_owner_stops ON backfill.job;
DROP POLICY IF EXISTS own_ranges ON backfill.range;
DROP POLICY IF EXISTS see_all ON backfill.range;
DROP POLICY IF EXISTS own_rows ON backfill.left_behind;

-- Who acts, and whose login counts: backfill.login. What may be updated cannot change whose code runs, so the role that a job was inserted
-- under may steer it too. Written out, so that ten thousand jobs of others cost a look-up each: where the names are those of the roles by
-- now, the OIDs tell; else it is asked whether roles were renamed or dropped, or the job restored.
CREATE POLICY own_jobs ON backfill.job
  USING (CASE
    WHEN submitted_by_oid = (SELECT backfill.login()) AND submitted_by = (SELECT backfill.role_name(backfill.login())) THEN true
    WHEN owner_oid = (SELECT backfill.role_oid(current_user)) AND owner = current_user THEN true
    WHEN (submitted_by_oid, submitted_by) IN (SELECT r.oid, r.rolname FROM pg_catalog.pg_roles r WHERE r.rolcanlogin)
         AND (owner_oid, owner) IN (SELECT r.oid, r.rolname FROM pg_catalog.pg_roles r) AND pg_catalog.pg_has_role(submitted_by_oid, owner_oid, 'MEMBER') THEN false
    ELSE backfill.may_steer(job) END);
CREATE POLICY see_all ON backfill.job FOR SELECT
  USING (pg_has_role(current_user, 'pg_monitor', 'USAGE'));
-- The owner of a job's table, or of the partitioned one above it: what he may change of it, backfill.is_not_asked says. As backfill.owns_table has it, for
-- many jobs at once.
CREATE POLICY tables_owner ON backfill.job FOR SELECT
  USING (target IN (SELECT c.oid FROM pg_catalog.pg_class c
                     WHERE c.relkind IN ('r', 'p') AND c.relowner IN (SELECT r.oid FROM pg_catalog.pg_roles r WHERE pg_has_role(current_user, r.oid, 'USAGE')))
         OR root IN (SELECT c.oid FROM pg_catalog.pg_class c
                     WHERE c.relkind IN ('r', 'p') AND c.relowner IN (SELECT r.oid FROM pg_catalog.pg_roles r WHERE pg_has_role(current_user, r.oid, 'USAGE'))));
CREATE POLICY tables_owner_stops ON backfill.job FOR UPDATE
  USING (target IN (SELECT c.oid FROM pg_catalog.pg_class c
                     WHERE c.relkind IN ('r', 'p') AND c.relowner IN (SELECT r.oid FROM pg_catalog.pg_roles r WHERE pg_has_role(current_user, r.oid, 'USAGE')))
         OR root IN (SELECT c.oid FROM pg_catalog.pg_class c
                     WHERE c.relkind IN ('r', 'p') AND c.relowner IN (SELECT r.oid FROM pg_catalog.pg_roles r WHERE pg_has_role(current_user, r.oid, 'USAGE'))));
-- Where ranges begin and stand, and what the message of a row says, may be values of rows: pg_monitor alone opens neither. A role that may read keys, as a
-- submitter may, reads those of its own jobs and its own tables.
DO $policies$
DECLARE
  own constant text := $$CASE
    WHEN j.submitted_by_oid = (SELECT backfill.login()) AND j.submitted_by = (SELECT backfill.role_name(backfill.login())) THEN true
    WHEN j.owner_oid = (SELECT backfill.role_oid(current_user)) AND j.owner = current_user THEN true
    WHEN (j.submitted_by_oid, j.submitted_by) IN (SELECT r.oid, r.rolname FROM pg_catalog.pg_roles r)
         AND (j.owner_oid, j.owner) IN (SELECT r.oid, r.rolname FROM pg_catalog.pg_roles r) THEN false
    ELSE backfill.login_of(j) = backfill.login() OR backfill.role_of(j) = backfill.role_oid(current_user) END$$;
BEGIN
  EXECUTE format('CREATE POLICY own_ranges ON backfill.range FOR SELECT'
                 ' USING (EXISTS (SELECT FROM backfill.job j WHERE j.id = job_id AND (NOT has_column_privilege(''backfill.range'', ''cursor'', ''SELECT'') OR %s OR backfill.owns_table(j.target) OR backfill.owns_table(j.root))))', own);
  EXECUTE format('CREATE POLICY own_rows ON backfill.left_behind FOR SELECT USING (EXISTS (SELECT FROM backfill.job j WHERE j.id = job_id AND %s))', own);
END
$policies$;
