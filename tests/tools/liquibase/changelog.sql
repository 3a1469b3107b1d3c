--liquibase formatted sql

--changeset shop:orders-cents-expand
INSERT INTO backfill.job (name, target, add_column, set_clause, keep_in_sync, enforce)
VALUES ('orders-cents', 'orders', 'amount_cents bigint', 'amount_cents = (amount * 100)::bigint', true, '{NOT NULL amount_cents}')
ON CONFLICT (name) DO NOTHING;
--rollback SELECT backfill.cancel('orders-cents');

--changeset shop:orders-cents-contract runInTransaction:false
CALL backfill.wait('orders-cents', '2 hours');
SELECT backfill.finish('orders-cents');
INSERT INTO backfill.job (name, target, drop_column)
VALUES ('orders-amount', 'orders', 'amount')
ON CONFLICT (name) DO NOTHING;
--rollback empty
