-- What may be believed, what is to run where, and what does. Documents are kept as they were signed.

CREATE TABLE roots (
  tenant TEXT NOT NULL,
  version INTEGER NOT NULL,
  document BLOB NOT NULL,
  received INTEGER NOT NULL,
  who TEXT NOT NULL,
  PRIMARY KEY (tenant, version)
) WITHOUT ROWID;

-- Kind: 0 for a gateway, 1 for a group.
CREATE TABLE deployments (
  tenant TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  digest TEXT NOT NULL,
  kind INTEGER NOT NULL,
  target TEXT NOT NULL,
  document BLOB NOT NULL,
  received INTEGER NOT NULL,
  who TEXT NOT NULL,
  PRIMARY KEY (tenant, epoch, seq)
) WITHOUT ROWID;
CREATE INDEX deployments_by_digest ON deployments (tenant, digest);
CREATE INDEX deployments_by_target ON deployments (tenant, kind, target, epoch, seq);

-- The parts of a bundle that gateways fetch alone: its document, and where in its file each artifact stands.
CREATE TABLE release_documents (
  tenant TEXT NOT NULL,
  identity TEXT NOT NULL,
  document BLOB NOT NULL,
  PRIMARY KEY (tenant, identity)
) WITHOUT ROWID;
CREATE TABLE artifacts (
  tenant TEXT NOT NULL,
  digest TEXT NOT NULL,
  blob TEXT NOT NULL,
  start INTEGER NOT NULL,
  length INTEGER NOT NULL,
  PRIMARY KEY (tenant, digest)
) WITHOUT ROWID;

CREATE TABLE labels (
  tenant TEXT NOT NULL,
  gateway TEXT NOT NULL,
  label TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (tenant, gateway, label)
) WITHOUT ROWID;

-- Labels as JSON: what a gateway has that is in the group.
CREATE TABLE fleet_groups (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  labels TEXT NOT NULL,
  PRIMARY KEY (tenant, name)
) WITHOUT ROWID;

-- The newest report of each gateway.
CREATE TABLE reports (
  tenant TEXT NOT NULL,
  gateway TEXT NOT NULL,
  epoch_ordinal INTEGER NOT NULL,
  counter INTEGER NOT NULL,
  received INTEGER NOT NULL,
  document BLOB NOT NULL,
  PRIMARY KEY (tenant, gateway)
) WITHOUT ROWID;

-- A rollout is one row; its body is JSON. The revision grows with each change, so that of two writers one notices.
CREATE TABLE rollouts (
  tenant TEXT NOT NULL,
  number INTEGER NOT NULL,
  target TEXT NOT NULL,
  active INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  started INTEGER NOT NULL,
  who TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (tenant, number)
) WITHOUT ROWID;
CREATE INDEX rollouts_by_target ON rollouts (tenant, target, number);
CREATE INDEX rollouts_active ON rollouts (tenant, number) WHERE active = 1;

PRAGMA user_version = 6;
