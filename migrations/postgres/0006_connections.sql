-- Connections to providers with their credentials. The credential is sealed (AES-256-GCM) with a data key of its own, which is wrapped
-- by a master key outside the database.

CREATE TABLE connections (
    id               uuid    NOT NULL PRIMARY KEY,
    -- Whose it is alone; NULL for everybody's.
    organisation_id  uuid    REFERENCES organisations (id),
    -- Told apart among those of one owner.
    name             text    NOT NULL,
    -- What models are asked for by, as in `openai/gpt-4o`. Connections of one owner and provider share its requests.
    provider         text    NOT NULL,
    -- A JSON object: what a section `[providers.NAME]` holds, but for secrets.
    settings         text    NOT NULL CHECK (settings::json IS NOT NULL),
    -- Its part of the requests, beside others of its provider; 0 for none while another can be asked.
    weight           bigint  NOT NULL CHECK (weight >= 0),
    suspended_ms     bigint,
    created_ms       bigint  NOT NULL,
    -- When its credential was last replaced.
    rotated_ms       bigint,
    -- Which master key the data key is wrapped by.
    master           text    NOT NULL,
    data_key         bytea   NOT NULL,
    credential       bytea   NOT NULL,
    -- The value of revisions.connections when this row last changed.
    revision         bigint  NOT NULL
);

-- NULLs are unlike each other, so everybody's have an index of their own.
CREATE UNIQUE INDEX connections_by_name ON connections (organisation_id, name) WHERE organisation_id IS NOT NULL;
CREATE UNIQUE INDEX connections_of_all_by_name ON connections (name) WHERE organisation_id IS NULL;

INSERT INTO revisions (name, value) VALUES ('connections', 0);
