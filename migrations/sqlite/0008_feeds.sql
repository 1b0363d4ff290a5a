-- What goes outside piece by piece: scheduled exports and sinks of events. How far each is, and which process has it in hand.

CREATE TABLE feeds (
    -- `export:` or `siem:` and its name in the operator's file.
    name           TEXT    NOT NULL PRIMARY KEY,
    -- Of an export the end of its last period, of a sink the place of its last event.
    position       INTEGER NOT NULL CHECK (position >= 0),
    -- Files written, or events taken.
    pieces         INTEGER NOT NULL DEFAULT 0,
    -- When it last went on.
    done_ms        INTEGER,
    -- In a row, and why the last of them.
    failures       INTEGER NOT NULL DEFAULT 0,
    error          TEXT,
    -- Not tried before.
    due_ms         INTEGER NOT NULL DEFAULT 0,
    holder         BLOB    CHECK (holder IS NULL OR length(holder) = 16),
    -- From when on it is free although it was not given back.
    held_until_ms  INTEGER,
    CHECK ((holder IS NULL) = (held_until_ms IS NULL))
) STRICT, WITHOUT ROWID;

-- What was decided about entries in quarantine is looked for by when.
CREATE INDEX ledger_entries_decided ON ledger_entries (ended_ms) WHERE step > 0;
