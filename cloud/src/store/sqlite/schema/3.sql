-- How far behind gateways were: of each stream the largest lag that was told in a minute (step 0) and in an hour (1), in
-- milliseconds, and when. Older ones are deleted as newer ones come, so that the time is part of the key before the stream.
CREATE TABLE lags (
  tenant TEXT NOT NULL,
  gateway TEXT NOT NULL,
  step INTEGER NOT NULL,
  bucket INTEGER NOT NULL,
  stream TEXT NOT NULL,
  at INTEGER NOT NULL,
  lag INTEGER NOT NULL,
  PRIMARY KEY (tenant, gateway, step, bucket, stream)
) WITHOUT ROWID;

PRAGMA user_version = 3;
