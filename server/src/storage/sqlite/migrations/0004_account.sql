-- Accounts: nothing here tells a name, a password, or a day. All rows look alike but for the
-- size classes of the vault's parts; one that has no vault yet has two of the smallest class.

CREATE TABLE account (
    id            BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 32),   -- permuted, of a hash under the pepper
    state         BLOB NOT NULL CHECK (length(state) = 360),           -- sealed: OPAQUE record, costs, counters
    request_part  BLOB NOT NULL CHECK (length(request_part) BETWEEN 1064 AND 65576),  -- sealed again
    recovery_part BLOB NOT NULL CHECK (length(recovery_part) BETWEEN 1064 AND 65576)  -- sealed again
) STRICT, WITHOUT ROWID;

-- Tickets that were spent, until they would not be good any more.
CREATE TABLE spent_ticket (
    hash        BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),   -- permuted
    expires_day INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
