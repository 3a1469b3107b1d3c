SELECT backfill.cancel('orders-cents');
