-- Who may do what. Secrets are kept as SHA-256 only, and are looked up by it before the tenant is known: so these two
-- tables, which are small, have a key that does not start with the tenant. Role: 0 viewer, 1 operator, 2 releaser.
CREATE TABLE tokens (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  secret BLOB NOT NULL,
  role INTEGER NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER,
  used INTEGER,
  PRIMARY KEY (tenant, name)
) WITHOUT ROWID;
CREATE INDEX tokens_by_secret ON tokens (secret);

-- What a browser has for a token that it has shown.
CREATE TABLE sessions (
  secret BLOB NOT NULL,
  token BLOB NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  PRIMARY KEY (secret)
) WITHOUT ROWID;

-- Who did what. Rows are only added; each holds those before it by its hash.
CREATE TABLE audit (
  tenant TEXT NOT NULL,
  number INTEGER NOT NULL,
  time INTEGER NOT NULL,
  who TEXT NOT NULL,
  role TEXT NOT NULL,
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  outcome TEXT NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (tenant, number)
) WITHOUT ROWID;

-- Releases that were verified when they came. Digests as text, the words by which people and addresses name them.
CREATE TABLE releases (
  tenant TEXT NOT NULL,
  module TEXT NOT NULL,
  counter INTEGER NOT NULL,
  version TEXT NOT NULL,
  identity TEXT NOT NULL,
  blob TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  received INTEGER NOT NULL,
  who TEXT NOT NULL,
  PRIMARY KEY (tenant, module, counter)
) WITHOUT ROWID;
CREATE INDEX releases_by_blob ON releases (tenant, blob);

PRAGMA user_version = 4;
