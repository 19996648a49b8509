-- What could not be read, or could not be gone on with: out of the way, and kept for a person to look at. `subject` is the
-- target of an action that was not over, else empty; `at` is in microseconds since 1970.
CREATE TABLE quarantine (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    subject TEXT NOT NULL,
    bytes BLOB NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

-- Starts of the server that took the experiment up and have not driven it for a while.
ALTER TABLE experiment ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
