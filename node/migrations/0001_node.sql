-- What a node keeps. Ids and peers are text as people see them; signed items and state machines are the bytes
-- that they serialize to. Times are milliseconds since the Unix epoch.

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE contacts (
    name      TEXT PRIMARY KEY,
    peer      TEXT NOT NULL UNIQUE,
    trusted   INTEGER NOT NULL DEFAULT 0,
    addresses TEXT NOT NULL DEFAULT '[]' -- JSON list of multiaddrs
) STRICT;

-- Where peers that are no contacts were said to be: billing peers of tickets.
CREATE TABLE places (
    peer      TEXT PRIMARY KEY,
    addresses TEXT NOT NULL,             -- JSON list of multiaddrs
    noted_at  INTEGER NOT NULL
) STRICT;

-- The library: programs whose files are here, whole and verified.
CREATE TABLE programs (
    program  TEXT PRIMARY KEY,
    name     TEXT NOT NULL,
    origin   TEXT,                       -- NULL: brought by the user (preloaded)
    kept     INTEGER NOT NULL DEFAULT 1, -- 0: only for the sessions that use it now
    added_at INTEGER NOT NULL
) STRICT;
CREATE INDEX programs_by_name ON programs (name, added_at);

-- An origin's catalog.
CREATE TABLE offers (
    name    TEXT PRIMARY KEY,
    program TEXT NOT NULL,
    terms   TEXT NOT NULL                -- JSON: copies, tariff, lease, billing peers
) STRICT;

-- An origin's answers, so that the same supply request gets the same ticket.
CREATE TABLE issued (
    host    TEXT NOT NULL,
    request TEXT NOT NULL,
    ticket  BLOB NOT NULL,
    PRIMARY KEY (host, request)
) STRICT;

-- A host's supply requests, as state machines.
CREATE TABLE supplies (
    request TEXT PRIMARY KEY,
    origin  TEXT NOT NULL,
    name    TEXT NOT NULL,
    done    INTEGER NOT NULL,
    machine BLOB NOT NULL
) STRICT;

-- A host's tickets, each with the ledger of its slots.
CREATE TABLE tickets (
    ticket  TEXT PRIMARY KEY,
    name    TEXT NOT NULL,
    program TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    ledger  BLOB NOT NULL
) STRICT;

-- Sessions, as state machines of the host or of a member.
CREATE TABLE sessions (
    session    TEXT PRIMARY KEY,
    role       TEXT NOT NULL CHECK (role IN ('host', 'member')),
    label      TEXT NOT NULL,            -- origin of the web part in the browser
    created_at INTEGER NOT NULL,
    ended      INTEGER NOT NULL,
    machine    BLOB NOT NULL
) STRICT;

CREATE TABLE updates (
    session TEXT NOT NULL,
    serial  INTEGER NOT NULL,            -- this node's own order
    sender  TEXT NOT NULL,
    number  INTEGER NOT NULL,            -- the sender's order
    item    BLOB NOT NULL,
    PRIMARY KEY (session, serial),
    UNIQUE (session, sender, number)
) STRICT, WITHOUT ROWID;

-- Proofs that a host gave one slot to two members.
CREATE TABLE cheats (
    ticket   TEXT NOT NULL,
    host     TEXT NOT NULL,
    found_at INTEGER NOT NULL,
    proof    BLOB NOT NULL,
    PRIMARY KEY (ticket, proof)
) STRICT;
