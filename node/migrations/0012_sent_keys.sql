-- What this node's pages, agents and user have posted under a key of their own: asked for again, it is not posted again.
-- `source`: who asked, 'page:' and its id, 'agent:' and the part, or 'user'. `serial`: what the update got.
CREATE TABLE sent_keys (
    session TEXT NOT NULL,
    source  TEXT NOT NULL,
    key     BLOB NOT NULL,
    serial  INTEGER NOT NULL,
    PRIMARY KEY (session, source, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX sent_keys_by_age ON sent_keys (session, source, serial);
