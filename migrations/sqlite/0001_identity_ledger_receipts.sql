-- Ids are the 16 bytes of their UUID; times are milliseconds since the Unix epoch; money is nano-USD.

CREATE TABLE organisations (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    name        TEXT    NOT NULL,
    created_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The organisation every installation has.
INSERT INTO organisations (id, name, created_ms) VALUES (zeroblob(16), 'default', 0);

CREATE TABLE teams (
    id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    organisation_id  BLOB    NOT NULL REFERENCES organisations (id),
    name             TEXT    NOT NULL,
    created_ms       INTEGER NOT NULL,
    UNIQUE (organisation_id, name)
) STRICT, WITHOUT ROWID;

-- A sequence for each kind of thing that processes cache: a reader that remembers the last one it saw asks for what is newer.
CREATE TABLE revisions (
    name   TEXT    NOT NULL PRIMARY KEY,
    value  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO revisions (name, value) VALUES ('keys', 0);

-- A key is never deleted: usage and entries name it.
CREATE TABLE keys (
    id                 BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    hash               BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    prefix             TEXT    NOT NULL,
    name               TEXT    NOT NULL,
    environment        TEXT    NOT NULL CHECK (environment IN ('production', 'development')),
    organisation_id    BLOB    NOT NULL REFERENCES organisations (id),
    team_id            BLOB    REFERENCES teams (id),
    created_ms         INTEGER NOT NULL,
    expires_ms         INTEGER,
    revoked_ms         INTEGER,
    -- JSON arrays of names; NULL allows any.
    allowed_models     TEXT    CHECK (allowed_models IS NULL OR json_valid(allowed_models)),
    allowed_providers  TEXT    CHECK (allowed_providers IS NULL OR json_valid(allowed_providers)),
    -- A JSON array of {"name", "value"}.
    tags               TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(tags)),
    -- What a request asks for that does not say so itself: the headers `x-portcullis-format` and `x-portcullis-metadata`.
    format             TEXT,
    metadata           TEXT,
    -- The value of revisions.keys when this row last changed.
    revision           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_by_prefix ON keys (prefix);
CREATE INDEX keys_by_revision ON keys (revision);

-- One row per request, denied ones too: what requests are searched and summed by. The receipt holds all else.
-- Ids are born with `time_ms`, so a span of time is a span of the primary key. Ids here and in the entries are checked by the
-- one program that writes them: per row, a CHECK costs more than its column.
CREATE TABLE requests (
    request_id         BLOB    NOT NULL PRIMARY KEY,
    time_ms            INTEGER NOT NULL,
    key_id             BLOB    NOT NULL,
    organisation_id    BLOB    NOT NULL,
    team_id            BLOB,
    environment        TEXT    NOT NULL,
    end_user           TEXT,
    requested_model    TEXT    NOT NULL,
    -- Who answered; NULL where nobody did.
    provider           TEXT,
    model              TEXT,
    status             INTEGER NOT NULL,
    outcome            TEXT    NOT NULL,
    input              INTEGER NOT NULL DEFAULT 0,
    cache_read         INTEGER NOT NULL DEFAULT 0,
    cache_write_short  INTEGER NOT NULL DEFAULT 0,
    cache_write_long   INTEGER NOT NULL DEFAULT 0,
    output             INTEGER NOT NULL DEFAULT 0,
    reasoning          INTEGER NOT NULL DEFAULT 0,
    audio_input        INTEGER NOT NULL DEFAULT 0,
    audio_output       INTEGER NOT NULL DEFAULT 0,
    images             INTEGER NOT NULL DEFAULT 0,
    searches           INTEGER NOT NULL DEFAULT 0,
    estimated          INTEGER NOT NULL DEFAULT 0,
    -- NULL where the price is unknown or nothing was used.
    cost_nano          INTEGER,
    total_us           INTEGER NOT NULL,
    -- A JSON array of {"name", "value"}; NULL for none.
    tags               TEXT,
    -- Where the receipt stands; NULL where it was too long to keep.
    receipt_page       INTEGER
) STRICT, WITHOUT ROWID;

-- Receipts of one organisation that were written together, compressed together, for each resembles the next. A receipt is
-- found in its page by its request's id. A page goes when its youngest has expired; requests may then name a page that is
-- not there, or another one.
CREATE TABLE receipt_pages (
    id               INTEGER PRIMARY KEY,
    organisation_id  BLOB    NOT NULL,
    youngest_ms      INTEGER NOT NULL,
    -- A version byte and what it says.
    content          BLOB    NOT NULL
) STRICT;

-- Append-only. One entry ends one reservation and states what was reserved; an open reservation stands in its writer's
-- journal. A later decision on a quarantined one is a further entry with the next `step`.
CREATE TABLE ledger_entries (
    request_id       BLOB    NOT NULL,
    attempt          INTEGER NOT NULL,
    step             INTEGER NOT NULL,
    -- Not `IN (…)`, for which SQLite makes a table of its own with every row: a sixth of what settling cost.
    kind             TEXT    NOT NULL CHECK (kind = 'settled' OR kind = 'refunded' OR kind = 'quarantined'),
    key_id           BLOB    NOT NULL,
    organisation_id  BLOB    NOT NULL,
    provider         TEXT    NOT NULL,
    model            TEXT    NOT NULL,
    reserved_nano    INTEGER NOT NULL CHECK (reserved_nano >= 0),
    -- What counts as spent: the cost, 0 for a refund, all that was reserved while in quarantine.
    amount_nano      INTEGER NOT NULL CHECK (amount_nano >= 0),
    input_nano       INTEGER NOT NULL CHECK (input_nano >= 0),
    output_nano      INTEGER NOT NULL CHECK (output_nano >= 0),
    reason           TEXT    NOT NULL,
    reserved_ms      INTEGER NOT NULL,
    ended_ms         INTEGER NOT NULL,
    -- The process epoch that wrote it.
    writer           BLOB    NOT NULL,
    PRIMARY KEY (request_id, attempt, step)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER ledger_entries_are_never_changed BEFORE UPDATE ON ledger_entries
BEGIN
    SELECT RAISE(ABORT, 'ledger entries are append-only');
END;

CREATE TRIGGER ledger_entries_are_never_deleted BEFORE DELETE ON ledger_entries
BEGIN
    SELECT RAISE(ABORT, 'ledger entries are append-only');
END;

-- Turns of conversations that go on by the name of an answer, where an organisation opted in. They answer only to the key that
-- made them. `content` is sealed (AES-256-GCM); the rest says nothing of what was said.
CREATE TABLE conversations (
    -- The request that made the turn.
    turn             BLOB    NOT NULL UNIQUE CHECK (length(turn) = 16),
    organisation_id  BLOB    NOT NULL CHECK (length(organisation_id) = 16),
    key_id           BLOB    NOT NULL CHECK (length(key_id) = 16),
    -- The answer's id, as its provider minted it: of two with one name the newer is meant.
    name             TEXT    NOT NULL,
    -- The turn that this one goes on from.
    previous         BLOB    CHECK (previous IS NULL OR length(previous) = 16),
    created_ms       INTEGER NOT NULL,
    expires_ms       INTEGER NOT NULL,
    content          BLOB    NOT NULL
) STRICT;

CREATE INDEX conversations_by_name ON conversations (organisation_id, key_id, name);
CREATE INDEX conversations_by_expiry ON conversations (expires_ms);
