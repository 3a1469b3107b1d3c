-- migrate:up
SELECT backfill.finish('orders-cents');

INSERT INTO backfill.job (name, target, drop_column)
VALUES ('orders-amount', 'orders', 'amount')
ON CONFLICT (name) DO NOTHING;

-- migrate:down
