-- Nothing but the CALL may stand here: dbmate sends a migration as one query, and several statements in one are a transaction,
-- in which wait() refuses to run.

-- migrate:up transaction:false
CALL backfill.wait('orders-cents', '2 hours');

-- migrate:down
