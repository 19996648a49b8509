-- Single values: server_id, epoch, next_connection_id, schedule (a chaoskitty.v1.Schedule).
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Everything that was ordered. `status` is a chaoskitty.v1.ActionStatus; the columns are its keys.
-- Ids are UUIDv7: their order is that of time.
CREATE TABLE action (
    id TEXT PRIMARY KEY,
    target_id TEXT NOT NULL,
    over INTEGER NOT NULL,
    status BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX action_by_target ON action (target_id, id);
CREATE INDEX action_unfinished ON action (id) WHERE over = 0;

-- Operations that run. `operation` is a chaoskitty.v1.Operation.
CREATE TABLE operation (
    name TEXT PRIMARY KEY,
    operation BLOB NOT NULL
) STRICT, WITHOUT ROWID;
