-- Who a gateway is. What a gateway signs names the centre by its id, which a database gets once.
CREATE TABLE centre (
  id TEXT NOT NULL,
  PRIMARY KEY (id)
) WITHOUT ROWID;
INSERT INTO centre (id) VALUES (lower(hex(randomblob(16))));

-- Tokens by which a machine becomes a gateway: kept as SHA-256, and looked up by it. A used one says by which key.
CREATE TABLE enrolment_tokens (
  secret BLOB NOT NULL,
  tenant TEXT NOT NULL,
  gateway TEXT,
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  used_by BLOB,
  used_for TEXT,
  PRIMARY KEY (secret)
) WITHOUT ROWID;

-- Gateways that are believed by their signature alone, and why someone should look at one; how many openings of its database
-- have signed, and the highest of their ordinals.
CREATE TABLE enrolments (
  tenant TEXT NOT NULL,
  gateway TEXT NOT NULL,
  enrolled INTEGER NOT NULL,
  revoked INTEGER,
  alarm INTEGER,
  alarm_raised INTEGER,
  highest INTEGER NOT NULL,
  openings INTEGER NOT NULL,
  PRIMARY KEY (tenant, gateway)
) WITHOUT ROWID;

-- Their keys: those that ended stay, so that what they signed on a stick is still known. Looked up by id before the tenant is
-- known.
CREATE TABLE device_keys (
  tenant TEXT NOT NULL,
  gateway TEXT NOT NULL,
  key_id BLOB NOT NULL,
  key BLOB NOT NULL,
  added INTEGER NOT NULL,
  follows BLOB,
  ended INTEGER,
  PRIMARY KEY (tenant, gateway, key_id)
) WITHOUT ROWID;
CREATE INDEX device_keys_by_id ON device_keys (key_id);

-- The openings of a gateway's database that have signed: how far each has counted, in which order they began, and how often
-- one has gone on after a later one had begun.
CREATE TABLE openings (
  tenant TEXT NOT NULL,
  gateway TEXT NOT NULL,
  epoch_ordinal INTEGER NOT NULL,
  epoch_random INTEGER NOT NULL,
  place INTEGER NOT NULL,
  count INTEGER NOT NULL,
  returns INTEGER NOT NULL,
  PRIMARY KEY (tenant, gateway, epoch_ordinal, epoch_random)
) WITHOUT ROWID;

PRAGMA user_version = 5;
