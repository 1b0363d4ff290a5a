-- Budgets, what was spent of them and what processes have leased of them, and alerts. Money is nano-USD.

INSERT INTO revisions (name, value) VALUES ('budgets', 0), ('recalls', 0);

-- Never removed: windows and alerts name them.
CREATE TABLE budgets (
    id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    organisation_id  BLOB    NOT NULL REFERENCES organisations (id),
    name             TEXT    NOT NULL,
    scope            TEXT    NOT NULL CHECK (scope IN ('organisation', 'team', 'key', 'user', 'model', 'provider', 'tag')),
    -- A team or key by its id as it is shown; NULL for the organisation.
    value            TEXT    CHECK ((value IS NULL) = (scope = 'organisation')),
    period           TEXT    NOT NULL CHECK (period IN ('request', 'day', 'week', 'month', 'total')),
    rolling          INTEGER NOT NULL CHECK (rolling IN (0, 1)),
    -- Of a calendar period: an IANA name.
    time_zone        TEXT,
    limit_nano       INTEGER NOT NULL CHECK (limit_nano >= 0),
    mode             TEXT    NOT NULL CHECK (mode IN ('hard', 'soft')),
    -- A JSON array of per cent.
    thresholds       TEXT    NOT NULL CHECK (json_valid(thresholds)),
    created_ms       INTEGER NOT NULL,
    deleted_ms       INTEGER,
    -- The value of revisions.budgets when this row last changed.
    revision         INTEGER NOT NULL,
    -- The value of revisions.recalls when idle slices were last wanted back.
    recalled         INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX budgets_by_organisation ON budgets (organisation_id, created_ms);

-- What entries have spent, counted in the transaction that writes them.
CREATE TABLE budget_windows (
    budget_id   BLOB    NOT NULL,
    -- Milliseconds since the Unix epoch; of a rolling period, of a bucket.
    start_ms    INTEGER NOT NULL,
    spent_nano  INTEGER NOT NULL,
    PRIMARY KEY (budget_id, start_ms)
) STRICT, WITHOUT ROWID;

-- What a process has leased of a window, and what of that its entries have spent. The rest counts as taken.
CREATE TABLE budget_leases (
    budget_id       BLOB    NOT NULL,
    start_ms        INTEGER NOT NULL,
    -- The process's ledger, as in ledger_entries.writer.
    epoch           BLOB    NOT NULL,
    granted_nano    INTEGER NOT NULL,
    used_nano       INTEGER NOT NULL DEFAULT 0,
    -- Until when the process holds it without a sign of life; NULL for as long as the process lives.
    expires_ms      INTEGER,
    -- Since when it is known that the process is gone and that nothing proves the rest unspent.
    quarantined_ms  INTEGER,
    PRIMARY KEY (budget_id, start_ms, epoch)
) STRICT, WITHOUT ROWID;

CREATE INDEX budget_leases_by_epoch ON budget_leases (epoch);

-- Where a quarantined reservation was counted, for whoever decides about it.
CREATE TABLE budget_quarantine (
    request_id  BLOB    NOT NULL,
    attempt     INTEGER NOT NULL,
    budget_id   BLOB    NOT NULL,
    start_ms    INTEGER NOT NULL,
    PRIMARY KEY (request_id, attempt, budget_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX ledger_entries_in_quarantine ON ledger_entries (organisation_id, reserved_ms) WHERE kind = 'quarantined';

CREATE TABLE alerts (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    organisation_id  BLOB    NOT NULL,
    budget_id        BLOB    NOT NULL,
    name             TEXT    NOT NULL,
    start_ms         INTEGER NOT NULL,
    kind             TEXT    NOT NULL CHECK (kind IN ('threshold', 'refused')),
    per_cent         INTEGER NOT NULL,
    spent_nano       INTEGER NOT NULL,
    limit_nano       INTEGER NOT NULL,
    time_ms          INTEGER NOT NULL,
    delivered_ms     INTEGER,
    attempts         INTEGER NOT NULL DEFAULT 0,
    -- When it is due to be delivered.
    due_ms           INTEGER NOT NULL,
    UNIQUE (budget_id, kind, per_cent, start_ms)
) STRICT;

CREATE INDEX alerts_by_organisation ON alerts (organisation_id, id);
CREATE INDEX alerts_due ON alerts (due_ms) WHERE delivered_ms IS NULL;
