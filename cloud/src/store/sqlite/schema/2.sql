-- Rows that cover more numbers than their own, and the loss ledger: rows that say why others are missing.

-- The first number that a row covers here; null where that is its own seq.
ALTER TABLE rows ADD COLUMN covers_from INTEGER;

-- The reason of an entry of the loss ledger; null for a row that is one.
ALTER TABLE rows ADD COLUMN lost INTEGER;

-- Alarms in the order in which they are shown, so that a page of them is read and not sorted. The ledger likewise.
DROP INDEX alarms;
CREATE INDEX alarms ON rows (tenant, gateway, received, epoch_ordinal, boot_time, seq) WHERE class = 0 AND lost IS NULL;
CREATE INDEX ledger ON rows (tenant, gateway, received, stream, epoch_ordinal, epoch_random, seq) WHERE lost IS NOT NULL;

-- Rows below the mark, without those that only say what is missing.
ALTER TABLE marks ADD COLUMN rows INTEGER NOT NULL DEFAULT 0;
UPDATE marks SET rows = mark;

-- Sums over the ledger, moved in the transaction that adds to it.
CREATE TABLE losses (
  tenant TEXT NOT NULL,
  gateway TEXT NOT NULL,
  stream TEXT NOT NULL,
  reason INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  received INTEGER NOT NULL,
  PRIMARY KEY (tenant, gateway, stream, reason)
) WITHOUT ROWID;

PRAGMA user_version = 2;
