-- Budgets, what was spent of them and what processes have leased of them, and alerts. Money is nano-USD.

INSERT INTO revisions (name, value) VALUES ('budgets', 0), ('recalls', 0);

-- Never removed: windows and alerts name them.
CREATE TABLE budgets (
    id               uuid    NOT NULL PRIMARY KEY,
    organisation_id  uuid    NOT NULL REFERENCES organisations (id),
    name             text    NOT NULL,
    scope            text    NOT NULL CHECK (scope IN ('organisation', 'team', 'key', 'user', 'model', 'provider', 'tag')),
    -- A team or key by its id as it is shown; NULL for the organisation.
    value            text    CHECK ((value IS NULL) = (scope = 'organisation')),
    period           text    NOT NULL CHECK (period IN ('request', 'day', 'week', 'month', 'total')),
    rolling          boolean NOT NULL,
    -- Of a calendar period: an IANA name.
    time_zone        text,
    limit_nano       bigint  NOT NULL CHECK (limit_nano >= 0),
    mode             text    NOT NULL CHECK (mode IN ('hard', 'soft')),
    -- A JSON array of per cent.
    thresholds       text    NOT NULL CHECK (thresholds::json IS NOT NULL),
    created_ms       bigint  NOT NULL,
    deleted_ms       bigint,
    -- The value of revisions.budgets when this row last changed.
    revision         bigint  NOT NULL,
    -- The value of revisions.recalls when idle slices were last wanted back.
    recalled         bigint  NOT NULL DEFAULT 0
);

CREATE INDEX budgets_by_organisation ON budgets (organisation_id, created_ms);

-- What entries have spent, counted in the transaction that writes them.
CREATE TABLE budget_windows (
    budget_id   uuid    NOT NULL,
    -- Milliseconds since the Unix epoch; of a rolling period, of a bucket.
    start_ms    bigint  NOT NULL,
    spent_nano  bigint  NOT NULL,
    PRIMARY KEY (budget_id, start_ms)
);

-- What a process has leased of a window, and what of that its entries have spent. The rest counts as taken.
CREATE TABLE budget_leases (
    budget_id       uuid    NOT NULL,
    start_ms        bigint  NOT NULL,
    -- The process's ledger, as in ledger_entries.writer.
    epoch           uuid    NOT NULL,
    granted_nano    bigint  NOT NULL,
    used_nano       bigint  NOT NULL DEFAULT 0,
    -- Until when the process holds it without a sign of life; NULL for as long as the process lives.
    expires_ms      bigint,
    -- Since when it is known that the process is gone and that nothing proves the rest unspent.
    quarantined_ms  bigint,
    PRIMARY KEY (budget_id, start_ms, epoch)
);

CREATE INDEX budget_leases_by_epoch ON budget_leases (epoch);

-- Where a quarantined reservation was counted, for whoever decides about it.
CREATE TABLE budget_quarantine (
    request_id  uuid    NOT NULL,
    attempt     bigint  NOT NULL,
    budget_id   uuid    NOT NULL,
    start_ms    bigint  NOT NULL,
    PRIMARY KEY (request_id, attempt, budget_id)
);

CREATE INDEX ledger_entries_in_quarantine ON ledger_entries (organisation_id, reserved_ms) WHERE kind = 'quarantined';

CREATE TABLE alerts (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id  uuid    NOT NULL,
    budget_id        uuid    NOT NULL,
    name             text    NOT NULL,
    start_ms         bigint  NOT NULL,
    kind             text    NOT NULL CHECK (kind IN ('threshold', 'refused')),
    per_cent         bigint  NOT NULL,
    spent_nano       bigint  NOT NULL,
    limit_nano       bigint  NOT NULL,
    time_ms          bigint  NOT NULL,
    delivered_ms     bigint,
    attempts         bigint  NOT NULL DEFAULT 0,
    -- When it is due to be delivered.
    due_ms           bigint  NOT NULL,
    UNIQUE (budget_id, kind, per_cent, start_ms)
);

CREATE INDEX alerts_by_organisation ON alerts (organisation_id, id);
CREATE INDEX alerts_due ON alerts (due_ms) WHERE delivered_ms IS NULL;
