exports.up = (pgm) => {
  pgm.noTransaction(); // wait() refuses to run in one; so each pgm.sql is one statement
  pgm.sql(`CALL backfill.wait('orders-cents', '2 hours')`);
  pgm.sql(`SELECT backfill.finish('orders-cents')`);
  pgm.sql(`
    INSERT INTO backfill.job (name, target, drop_column)
    VALUES ('orders-amount', 'orders', 'amount')
    ON CONFLICT (name) DO NOTHING`);
};

exports.down = false;
