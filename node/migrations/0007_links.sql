-- Slots that were given back, on their way to the billing peers of their ticket: each of them is shown, and a row is
-- gone once its peer has written it down, or does not want it.
CREATE TABLE outbox_links (
    serial    INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they are sent
    release   TEXT NOT NULL,
    peer      TEXT NOT NULL,
    envelope  BLOB NOT NULL,
    rights    BLOB NOT NULL,                     -- ticket and slot, as sent along
    attempts  INTEGER NOT NULL DEFAULT 0,        -- that failed
    next_at   INTEGER NOT NULL,
    UNIQUE (release, peer)
) STRICT;
CREATE INDEX outbox_links_due ON outbox_links (next_at, serial);
