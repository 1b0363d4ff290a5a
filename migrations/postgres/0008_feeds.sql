-- What goes outside piece by piece: scheduled exports and sinks of events. How far each is, and which process has it in hand.

CREATE TABLE feeds (
    -- `export:` or `siem:` and its name in the operator's file.
    name           text    NOT NULL PRIMARY KEY,
    -- Of an export the end of its last period, of a sink the place of its last event.
    position       bigint  NOT NULL CHECK (position >= 0),
    -- Files written, or events taken.
    pieces         bigint  NOT NULL DEFAULT 0,
    -- When it last went on.
    done_ms        bigint,
    -- In a row, and why the last of them.
    failures       bigint  NOT NULL DEFAULT 0,
    error          text,
    -- Not tried before.
    due_ms         bigint  NOT NULL DEFAULT 0,
    holder         uuid,
    -- From when on it is free although it was not given back.
    held_until_ms  bigint,
    CHECK ((holder IS NULL) = (held_until_ms IS NULL))
);

-- What was decided about entries in quarantine is looked for by when.
CREATE INDEX ledger_entries_decided ON ledger_entries (ended_ms) WHERE step > 0;
