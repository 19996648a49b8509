-- Suites that were built, by their time in microseconds since 1970. `suite` is the chaoskitty.v1.ExperimentSuite that was
-- asked for, `record` a chaoskitty.v1.SuiteRecord without its experiments.
CREATE TABLE suite (
    at INTEGER PRIMARY KEY,
    suite BLOB NOT NULL,
    record BLOB NOT NULL
) STRICT;

-- Their experiments, with every change of state. `experiment` is a chaoskitty.v1.Experiment; the columns are its keys.
-- Ids are UUIDv7: their order is that of time.
CREATE TABLE experiment (
    id TEXT PRIMARY KEY,
    suite INTEGER NOT NULL REFERENCES suite (at),
    over INTEGER NOT NULL,
    experiment BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX experiment_by_suite ON experiment (suite, id);
CREATE INDEX experiment_unfinished ON experiment (id) WHERE over = 0;
