-- The operator's log: signed statements about the service, never about a person. It is public: every
-- device may read all of it.

CREATE TABLE operator_log (
    place      INTEGER NOT NULL PRIMARY KEY CHECK (place >= 0),
    entry      BLOB NOT NULL CHECK (length(entry) <= 16147),       -- exact bytes, signed by the notice key
    checkpoint BLOB NOT NULL CHECK (length(checkpoint) = 218)      -- of the log up to here
) STRICT, WITHOUT ROWID;
