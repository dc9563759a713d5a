-- What a relay keeps (ARCHITECTURE: what must never be here).
--
-- Every table is WITHOUT ROWID under a random-looking key: a rowid would be a global
-- insertion order. Rows of about 1.1 KB fit a page of 8 KiB without overflow (an index
-- b-tree keeps at most 2,030 bytes of a row on such a page). No index but the keys and the
-- one that a blob's owner needs: each would be another page to write for each row.

-- One row: shows whether the key file fits this database.
CREATE TABLE key_check (
    version INTEGER NOT NULL PRIMARY KEY CHECK (version = 1),
    sealed  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE mailbox (
    id          BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),       -- permuted
    keys        BLOB NOT NULL CHECK (length(keys) = 136),                -- sealed: three public keys
    state       BLOB NOT NULL CHECK (length(state) = 49),                -- sealed: generation, closed
    expires_day INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE envelope (
    key         BLOB NOT NULL PRIMARY KEY CHECK (length(key) = 24),      -- permuted mailbox 16, order 8 big-endian
    message     BLOB NOT NULL CHECK (length(message) = 16),              -- permuted
    expires_day INTEGER NOT NULL,
    body        BLOB NOT NULL CHECK (length(body) = 1024)                -- ciphertext
) STRICT, WITHOUT ROWID;

CREATE TABLE commit_slot (
    token       BLOB NOT NULL PRIMARY KEY CHECK (length(token) = 16),    -- permuted
    expires_day INTEGER NOT NULL,
    body        BLOB NOT NULL CHECK (length(body) <= 65536)              -- ciphertext, a size class
) STRICT, WITHOUT ROWID;

CREATE TABLE revoked_grant (
    hash        BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),     -- permuted
    expires_day INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE blob (
    read_hash     BLOB NOT NULL PRIMARY KEY CHECK (length(read_hash) = 32),    -- permuted; names the file
    owner_hash    BLOB NOT NULL UNIQUE CHECK (length(owner_hash) = 32),        -- permuted
    size_class    INTEGER NOT NULL,
    upload_offset INTEGER NOT NULL CHECK (upload_offset <= size_class),
    expires_day   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE admission_code (
    hash      BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),       -- permuted
    uses_left INTEGER NOT NULL CHECK (uses_left > 0)
) STRICT, WITHOUT ROWID;
