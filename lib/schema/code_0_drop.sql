-- What this version makes anew is dropped first: a function whose arguments or result have changed would else be refused, or
-- stand beside the new one. What something of a user's depends on stays, and is replaced where it can be; rights are given anew.

DO $$
DECLARE
  routine regprocedure;
BEGIN
  FOR routine IN SELECT p.oid FROM pg_catalog.pg_proc p
                  WHERE p.pronamespace = 'backfill'::regnamespace AND pg_catalog.pg_has_role(p.proowner, 'USAGE') LOOP
    BEGIN
      EXECUTE format('DROP ROUTINE %s', routine);
    EXCEPTION WHEN dependent_objects_still_exist THEN
      NULL;
    END;
  END LOOP;
END
$$;
