-- Without the usual BEGIN and COMMIT: wait() refuses to run in a transaction.

CALL backfill.wait('orders-cents', '2 hours');

SELECT backfill.finish('orders-cents');

INSERT INTO backfill.job (name, target, drop_column)
VALUES ('orders-amount', 'orders', 'amount')
ON CONFLICT (name) DO NOTHING;
