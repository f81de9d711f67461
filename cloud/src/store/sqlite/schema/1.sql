-- Every key starts with (tenant, gateway), so that the tables can be spread by it. No sequences, no triggers, and only
-- TEXT, BLOB and 64-bit INTEGER, which other engines have as well. Unsigned numbers that only identify or tell a time
-- are kept as their bit pattern; those that order rows (epoch_ordinal, seq) are checked to fit.

CREATE TABLE gateways (
  tenant TEXT NOT NULL,
  gateway TEXT NOT NULL,
  epoch_ordinal INTEGER NOT NULL,
  epoch_random INTEGER NOT NULL,
  first_seen INTEGER NOT NULL,
  last_seen INTEGER NOT NULL,
  sent INTEGER NOT NULL,
  newest_committed INTEGER,
  newest_received INTEGER,
  conflicts INTEGER NOT NULL,
  status BLOB NOT NULL,
  PRIMARY KEY (tenant, gateway)
) WITHOUT ROWID;

-- How far each stream and epoch is held: moved in the transaction that adds the rows.
CREATE TABLE marks (
  tenant TEXT NOT NULL,
  gateway TEXT NOT NULL,
  stream TEXT NOT NULL,
  epoch_ordinal INTEGER NOT NULL,
  epoch_random INTEGER NOT NULL,
  mark INTEGER NOT NULL,
  PRIMARY KEY (tenant, gateway, stream, epoch_ordinal, epoch_random)
) WITHOUT ROWID;

CREATE TABLE rows (
  tenant TEXT NOT NULL,
  gateway TEXT NOT NULL,
  stream TEXT NOT NULL,
  epoch_ordinal INTEGER NOT NULL,
  epoch_random INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  received INTEGER NOT NULL,
  class INTEGER NOT NULL,
  module TEXT NOT NULL,
  generation INTEGER NOT NULL,
  key TEXT NOT NULL,
  time INTEGER NOT NULL,
  duration_ns INTEGER NOT NULL,
  content BLOB NOT NULL,
  boot INTEGER NOT NULL,
  boot_time INTEGER NOT NULL,
  wall_time INTEGER NOT NULL,
  clock INTEGER NOT NULL,
  trace BLOB,
  PRIMARY KEY (tenant, gateway, stream, epoch_ordinal, epoch_random, seq)
) WITHOUT ROWID;

-- Alarms are few, and looked at first.
CREATE INDEX alarms ON rows (tenant, gateway, received) WHERE class = 0;

-- Where the newest row of each series is.
CREATE TABLE newest (
  tenant TEXT NOT NULL,
  gateway TEXT NOT NULL,
  stream TEXT NOT NULL,
  key TEXT NOT NULL,
  class INTEGER NOT NULL,
  epoch_ordinal INTEGER NOT NULL,
  epoch_random INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  received INTEGER NOT NULL,
  PRIMARY KEY (tenant, gateway, stream, key, class)
) WITHOUT ROWID;

PRAGMA user_version = 1;
