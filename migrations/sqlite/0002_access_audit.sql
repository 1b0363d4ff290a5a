-- Who may do what: policies of organisations and teams, what keys say further, members, admin tokens, lock-outs, replicas; and the
-- audit trail that every change is written to in its own transaction.
-- Ids are the 16 bytes of their UUID; times are milliseconds since the Unix epoch.

ALTER TABLE organisations ADD COLUMN suspended_ms INTEGER;
-- A JSON object: what no key of the organisation may pass, whatever the key says.
ALTER TABLE organisations ADD COLUMN policy TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(policy));
-- Grows by one with every change of the row: a writer that read an older one starts again.
ALTER TABLE organisations ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
CREATE UNIQUE INDEX organisations_by_name ON organisations (name);

ALTER TABLE teams ADD COLUMN suspended_ms INTEGER;
ALTER TABLE teams ADD COLUMN policy TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(policy));
ALTER TABLE teams ADD COLUMN version INTEGER NOT NULL DEFAULT 1;

-- People. What a member may do stands in `grants`.
CREATE TABLE members (
    id            BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    -- In lower case.
    email         TEXT    NOT NULL UNIQUE,
    name          TEXT    NOT NULL,
    -- Who vouches for the member at login, and by what name; NULL until the first login.
    issuer        TEXT,
    subject       TEXT,
    created_ms    INTEGER NOT NULL,
    suspended_ms  INTEGER,
    last_seen_ms  INTEGER,
    version       INTEGER NOT NULL DEFAULT 1,
    CHECK ((issuer IS NULL) = (subject IS NULL)),
    UNIQUE (issuer, subject)
) STRICT, WITHOUT ROWID;

-- Tokens for the admin API. Never deleted: the audit trail names them.
CREATE TABLE admin_tokens (
    id            BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    hash          BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    prefix        TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    -- Whose it is, where it is a person's.
    member_id     BLOB    REFERENCES members (id) ON DELETE SET NULL,
    created_ms    INTEGER NOT NULL,
    expires_ms    INTEGER,
    revoked_ms    INTEGER,
    last_used_ms  INTEGER,
    version       INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;

CREATE INDEX admin_tokens_by_member ON admin_tokens (member_id);

-- A role within a scope: everything (both NULL), an organisation, or one of its teams.
CREATE TABLE grants (
    -- A member's id or a token's.
    holder           BLOB    NOT NULL CHECK (length(holder) = 16),
    position         INTEGER NOT NULL,
    role             TEXT    NOT NULL,
    organisation_id  BLOB    REFERENCES organisations (id),
    team_id          BLOB    REFERENCES teams (id),
    CHECK (team_id IS NULL OR organisation_id IS NOT NULL),
    PRIMARY KEY (holder, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX grants_by_organisation ON grants (organisation_id);
CREATE INDEX grants_by_team ON grants (team_id);

-- While a rotated key's grace lasts, the secret it had before holds too.
ALTER TABLE keys ADD COLUMN previous_hash BLOB CHECK (previous_hash IS NULL OR length(previous_hash) = 32);
ALTER TABLE keys ADD COLUMN previous_until_ms INTEGER;
ALTER TABLE keys ADD COLUMN rotated_ms INTEGER;
ALTER TABLE keys ADD COLUMN suspended_ms INTEGER;
-- Whose it is, where it is a person's.
ALTER TABLE keys ADD COLUMN member_id BLOB REFERENCES members (id) ON DELETE SET NULL;
-- The last day since the epoch (UTC) on which somebody was reminded that it expires.
ALTER TABLE keys ADD COLUMN reminded_day INTEGER NOT NULL DEFAULT 0;
-- What the key may do, as for organisations.
ALTER TABLE keys ADD COLUMN policy TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(policy));
UPDATE keys SET policy = json_patch(
    CASE WHEN allowed_models IS NULL THEN '{}' ELSE json_object('models', json(allowed_models)) END,
    CASE WHEN allowed_providers IS NULL THEN '{}' ELSE json_object('providers', json(allowed_providers)) END);
ALTER TABLE keys DROP COLUMN allowed_models;
ALTER TABLE keys DROP COLUMN allowed_providers;
-- NULLs are unlike each other: only secrets that were rotated away are in it.
CREATE UNIQUE INDEX keys_by_previous_hash ON keys (previous_hash);
CREATE INDEX keys_by_owner ON keys (organisation_id, team_id);
CREATE INDEX keys_by_member ON keys (member_id);

-- Failed attempts by the shown part of a key or by an address, so that a lock-out outlives a restart.
CREATE TABLE lockouts (
    kind        TEXT    NOT NULL CHECK (kind IN ('prefix', 'address')),
    subject     TEXT    NOT NULL,
    failures    INTEGER NOT NULL,
    last_ms     INTEGER NOT NULL,
    -- Until when nothing but a correct key passes.
    until_ms    INTEGER NOT NULL,
    PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX lockouts_by_time ON lockouts (last_ms);

-- Processes that hold keys in memory, and up to which of their revisions.
CREATE TABLE replicas (
    id             BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    -- Machine and process, for people.
    name           TEXT    NOT NULL,
    started_ms     INTEGER NOT NULL,
    seen_ms        INTEGER NOT NULL,
    keys_revision  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Append-only. Every action of an administrator and every access that failed.
CREATE TABLE audit_events (
    seq              INTEGER PRIMARY KEY,
    time_ms          INTEGER NOT NULL,
    -- token, member, cli, system, caller.
    actor_kind       TEXT    NOT NULL,
    -- An id, the operating system's user, or the shown part of a key.
    actor_id         TEXT,
    address          TEXT,
    organisation_id  BLOB    CHECK (organisation_id IS NULL OR length(organisation_id) = 16),
    -- What was done, as `key.revoke`.
    action           TEXT    NOT NULL,
    -- To what: mostly an id.
    target           TEXT    NOT NULL,
    -- JSON without secrets.
    before           TEXT    CHECK (before IS NULL OR json_valid(before)),
    after            TEXT    CHECK (after IS NULL OR json_valid(after))
) STRICT;

CREATE INDEX audit_events_by_organisation ON audit_events (organisation_id, seq);
CREATE INDEX audit_events_by_time ON audit_events (time_ms);

CREATE TRIGGER audit_events_are_never_changed BEFORE UPDATE ON audit_events
BEGIN
    SELECT RAISE(ABORT, 'audit events are append-only');
END;

CREATE TRIGGER audit_events_are_never_deleted BEFORE DELETE ON audit_events
BEGIN
    SELECT RAISE(ABORT, 'audit events are append-only');
END;
