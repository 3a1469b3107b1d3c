-- migrate:up
INSERT INTO backfill.job (name, target, add_column, set_clause, keep_in_sync, enforce)
VALUES ('orders-cents', 'orders', 'amount_cents bigint', 'amount_cents = (amount * 100)::bigint', true, '{NOT NULL amount_cents}')
ON CONFLICT (name) DO NOTHING;

-- migrate:down
SELECT backfill.cancel('orders-cents');
