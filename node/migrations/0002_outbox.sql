-- Receipts on their way to a billing peer. A receipt stays here until one of its ticket's billing peers has
-- acknowledged it, or all have refused it; and after that with the answer.

CREATE TABLE outbox (
    serial      INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they are sent
    receipt     TEXT NOT NULL UNIQUE,
    envelope    BLOB NOT NULL,
    rights      BLOB NOT NULL,                     -- ticket and slot, as sent along
    enqueued_at INTEGER NOT NULL,
    state       TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'acked', 'refused')),
    attempts    INTEGER NOT NULL DEFAULT 0,        -- that failed
    next_at     INTEGER NOT NULL,
    next_peer   TEXT NOT NULL,
    ack         BLOB,
    reason      TEXT                               -- of the last failure, or of the refusal
) STRICT;
CREATE INDEX outbox_pending ON outbox (next_at, serial) WHERE state = 'pending';

-- Who may acknowledge a receipt, in the order in which to ask.
CREATE TABLE outbox_peers (
    receipt TEXT NOT NULL REFERENCES outbox (receipt),
    number  INTEGER NOT NULL,
    peer    TEXT NOT NULL,
    refusal TEXT,                                  -- why this one does not want it
    PRIMARY KEY (receipt, number)
) STRICT, WITHOUT ROWID;
