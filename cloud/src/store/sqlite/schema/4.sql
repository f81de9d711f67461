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

PRAGMA user_version = 4;
