-- Who may do what: policies of organisations and teams, what keys say further, members, admin tokens, lock-outs, replicas; and the
-- audit trail that every change is written to in its own transaction.

ALTER TABLE organisations ADD COLUMN suspended_ms bigint;
-- A JSON object: what no key of the organisation may pass, whatever the key says.
ALTER TABLE organisations ADD COLUMN policy text NOT NULL DEFAULT '{}' CHECK (policy::json IS NOT NULL);
-- Grows by one with every change of the row: a writer that read an older one starts again.
ALTER TABLE organisations ADD COLUMN version bigint NOT NULL DEFAULT 1;
CREATE UNIQUE INDEX organisations_by_name ON organisations (name);

ALTER TABLE teams ADD COLUMN suspended_ms bigint;
ALTER TABLE teams ADD COLUMN policy text NOT NULL DEFAULT '{}' CHECK (policy::json IS NOT NULL);
ALTER TABLE teams ADD COLUMN version bigint NOT NULL DEFAULT 1;

-- People. What a member may do stands in `grants`.
CREATE TABLE members (
    id            uuid    NOT NULL PRIMARY KEY,
    -- In lower case.
    email         text    NOT NULL UNIQUE,
    name          text    NOT NULL,
    -- Who vouches for the member at login, and by what name; NULL until the first login.
    issuer        text,
    subject       text,
    created_ms    bigint  NOT NULL,
    suspended_ms  bigint,
    last_seen_ms  bigint,
    version       bigint  NOT NULL DEFAULT 1,
    CHECK ((issuer IS NULL) = (subject IS NULL)),
    UNIQUE (issuer, subject)
);

-- Tokens for the admin API. Never deleted: the audit trail names them.
CREATE TABLE admin_tokens (
    id            uuid    NOT NULL PRIMARY KEY,
    hash          bytea   NOT NULL UNIQUE CHECK (length(hash) = 32),
    prefix        text    NOT NULL,
    name          text    NOT NULL,
    -- Whose it is, where it is a person's.
    member_id     uuid    REFERENCES members (id) ON DELETE SET NULL,
    created_ms    bigint  NOT NULL,
    expires_ms    bigint,
    revoked_ms    bigint,
    last_used_ms  bigint,
    version       bigint  NOT NULL DEFAULT 1
);

CREATE INDEX admin_tokens_by_member ON admin_tokens (member_id);

-- A role within a scope: everything (both NULL), an organisation, or one of its teams.
CREATE TABLE grants (
    -- A member's id or a token's.
    holder           uuid    NOT NULL,
    position         bigint  NOT NULL,
    role             text    NOT NULL,
    organisation_id  uuid    REFERENCES organisations (id),
    team_id          uuid    REFERENCES teams (id),
    CHECK (team_id IS NULL OR organisation_id IS NOT NULL),
    PRIMARY KEY (holder, position)
);

CREATE INDEX grants_by_organisation ON grants (organisation_id);
CREATE INDEX grants_by_team ON grants (team_id);

-- While a rotated key's grace lasts, the secret it had before holds too.
ALTER TABLE keys ADD COLUMN previous_hash bytea CHECK (previous_hash IS NULL OR length(previous_hash) = 32);
ALTER TABLE keys ADD COLUMN previous_until_ms bigint;
ALTER TABLE keys ADD COLUMN rotated_ms bigint;
ALTER TABLE keys ADD COLUMN suspended_ms bigint;
-- Whose it is, where it is a person's.
ALTER TABLE keys ADD COLUMN member_id uuid REFERENCES members (id) ON DELETE SET NULL;
-- The last day since the epoch (UTC) on which somebody was reminded that it expires.
ALTER TABLE keys ADD COLUMN reminded_day bigint NOT NULL DEFAULT 0;
-- What the key may do, as for organisations.
ALTER TABLE keys ADD COLUMN policy text NOT NULL DEFAULT '{}' CHECK (policy::json IS NOT NULL);
UPDATE keys SET policy =
    jsonb_strip_nulls(jsonb_build_object('models', allowed_models::jsonb, 'providers', allowed_providers::jsonb))::text;
ALTER TABLE keys DROP COLUMN allowed_models;
ALTER TABLE keys DROP COLUMN allowed_providers;
-- NULLs are unlike each other: only secrets that were rotated away are in it.
CREATE UNIQUE INDEX keys_by_previous_hash ON keys (previous_hash);
CREATE INDEX keys_by_owner ON keys (organisation_id, team_id);
CREATE INDEX keys_by_member ON keys (member_id);

-- Failed attempts by the shown part of a key or by an address, so that a lock-out outlives a restart.
CREATE TABLE lockouts (
    kind        text    NOT NULL CHECK (kind IN ('prefix', 'address')),
    subject     text    NOT NULL,
    failures    bigint  NOT NULL,
    last_ms     bigint  NOT NULL,
    -- Until when nothing but a correct key passes.
    until_ms    bigint  NOT NULL,
    PRIMARY KEY (kind, subject)
);

CREATE INDEX lockouts_by_time ON lockouts (last_ms);

-- Processes that hold keys in memory, and up to which of their revisions.
CREATE TABLE replicas (
    id             uuid    NOT NULL PRIMARY KEY,
    -- Machine and process, for people.
    name           text    NOT NULL,
    started_ms     bigint  NOT NULL,
    seen_ms        bigint  NOT NULL,
    keys_revision  bigint  NOT NULL
);

-- Append-only. Every action of an administrator and every access that failed.
CREATE TABLE audit_events (
    -- Without gaps: writers take their turns.
    seq              bigint  NOT NULL PRIMARY KEY,
    time_ms          bigint  NOT NULL,
    -- token, member, cli, system, caller.
    actor_kind       text    NOT NULL,
    -- An id, the operating system's user, or the shown part of a key.
    actor_id         text,
    address          text,
    organisation_id  uuid,
    -- What was done, as `key.revoke`.
    action           text    NOT NULL,
    -- To what: mostly an id.
    target           text    NOT NULL,
    -- JSON without secrets.
    before           text    CHECK (before IS NULL OR before::json IS NOT NULL),
    after            text    CHECK (after IS NULL OR after::json IS NOT NULL)
);

CREATE INDEX audit_events_by_organisation ON audit_events (organisation_id, seq);
CREATE INDEX audit_events_by_time ON audit_events (time_ms);

CREATE TRIGGER audit_events_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION portcullis_append_only('audit events');
