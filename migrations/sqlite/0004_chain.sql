-- The ledger and the audit trail, provable: every entry and every event is a link of a hash chain, what expires is referred to by
-- salted digests, and signed checkpoints join the heads of the chains. The bytes that are hashed stand in
-- host/store/src/chain/canonical.rs.

-- The entry's place in the chain of its writer, and its hash. NULL in entries older than the chains: they are links of the chain whose name
-- is zeros.
ALTER TABLE ledger_entries ADD COLUMN seq INTEGER;
ALTER TABLE ledger_entries ADD COLUMN hash BLOB;

-- Its place in its chain is its number. NULL in events older than the chain, which their successor holds fast.
ALTER TABLE audit_events ADD COLUMN hash BLOB;

-- Without its salt a request's digest says nothing of the request: the salt goes with the row.
ALTER TABLE requests ADD COLUMN salt BLOB;
ALTER TABLE receipt_pages ADD COLUMN salt BLOB;

-- One link of a writer's chain for all requests and pages of receipts of a group.
CREATE TABLE record_seals (
    id         INTEGER PRIMARY KEY,
    writer     BLOB    NOT NULL CHECK (length(writer) = 16),
    seq        INTEGER NOT NULL,
    -- The newest page of receipts when it was written: numbers of pages that are gone are not given again.
    last_page  INTEGER NOT NULL,
    content    BLOB    NOT NULL,
    hash       BLOB    NOT NULL CHECK (length(hash) = 32),
    UNIQUE (writer, seq)
) STRICT;

-- How far each chain goes.
CREATE TABLE chains (
    chain  BLOB    NOT NULL PRIMARY KEY CHECK (length(chain) = 16),
    seq    INTEGER NOT NULL,
    hash   BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    number      INTEGER PRIMARY KEY,
    time_ms     INTEGER NOT NULL,
    previous    BLOB    NOT NULL CHECK (length(previous) = 32),
    public_key  BLOB    NOT NULL CHECK (length(public_key) = 32),
    -- With which all that follow are signed.
    next_key    BLOB    CHECK (next_key IS NULL OR length(next_key) = 32),
    hash        BLOB    NOT NULL CHECK (length(hash) = 32),
    signature   BLOB    NOT NULL CHECK (length(signature) = 64)
) STRICT;

CREATE TABLE checkpoint_heads (
    chain       BLOB    NOT NULL CHECK (length(chain) = 16),
    seq         INTEGER NOT NULL,
    checkpoint  INTEGER NOT NULL REFERENCES checkpoints (number),
    hash        BLOB    NOT NULL CHECK (length(hash) = 32),
    -- 1 where nothing follows in the chain.
    closed      INTEGER NOT NULL,
    PRIMARY KEY (chain, seq, checkpoint)
) STRICT, WITHOUT ROWID;

CREATE INDEX checkpoint_heads_by_checkpoint ON checkpoint_heads (checkpoint);

CREATE TRIGGER record_seals_are_never_changed BEFORE UPDATE ON record_seals
BEGIN
    SELECT RAISE(ABORT, 'seals are append-only');
END;

CREATE TRIGGER record_seals_are_never_deleted BEFORE DELETE ON record_seals
BEGIN
    SELECT RAISE(ABORT, 'seals are append-only');
END;

CREATE TRIGGER checkpoints_are_never_changed BEFORE UPDATE ON checkpoints
BEGIN
    SELECT RAISE(ABORT, 'checkpoints are append-only');
END;

CREATE TRIGGER checkpoints_are_never_deleted BEFORE DELETE ON checkpoints
BEGIN
    SELECT RAISE(ABORT, 'checkpoints are append-only');
END;

CREATE TRIGGER checkpoint_heads_are_never_changed BEFORE UPDATE ON checkpoint_heads
BEGIN
    SELECT RAISE(ABORT, 'checkpoints are append-only');
END;

CREATE TRIGGER checkpoint_heads_are_never_deleted BEFORE DELETE ON checkpoint_heads
BEGIN
    SELECT RAISE(ABORT, 'checkpoints are append-only');
END;
