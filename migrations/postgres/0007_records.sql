-- How long request records live, what they are searched by besides, and prompts and answers where an organisation wants them kept.

-- Days that its requests and receipts are kept; NULL for as long as the configuration says.
ALTER TABLE organisations ADD COLUMN retention_days bigint CHECK (retention_days >= 7 AND retention_days <= 365);
-- Days that prompts and answers are kept; NULL for not at all.
ALTER TABLE organisations ADD COLUMN capture_days bigint CHECK (capture_days >= 1 AND capture_days <= 365);

-- The code of a refusal or failure.
ALTER TABLE requests ADD COLUMN reason text;
-- What policies said, where it was more than that the request may pass.
ALTER TABLE requests ADD COLUMN policy text;
-- The client's own id of the request.
ALTER TABLE requests ADD COLUMN correlation text;

-- Whoever asks for one wants one request of millions. It costs those requests alone that have one.
CREATE INDEX requests_by_correlation ON requests (correlation) WHERE correlation IS NOT NULL;

-- One row for some hundred requests, so it is cheap; without it a page's expiry is found by reading all of them.
CREATE INDEX receipt_pages_by_expiry ON receipt_pages (organisation_id, youngest_ms);

-- What was asked and answered, after the guards. `content` is sealed (AES-256-GCM) with a key that is not in the database.
CREATE TABLE captures (
    request_id       uuid    NOT NULL,
    organisation_id  uuid    NOT NULL,
    expires_ms       bigint  NOT NULL,
    -- Which master key its key comes of.
    master           text    NOT NULL,
    content          bytea   NOT NULL,
    PRIMARY KEY (organisation_id, request_id)
);

CREATE INDEX captures_by_expiry ON captures (expires_ms);
