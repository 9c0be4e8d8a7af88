-- A billing peer's books. The same text for SQLite and PostgreSQL: TEXT and BIGINT only. Ids, peers and signed
-- items are text (hex, base58); times are milliseconds since the Unix epoch.

-- One row: the last position given out. Whoever books takes its lock first.
CREATE TABLE billing_counter (
    id       BIGINT PRIMARY KEY,
    position BIGINT NOT NULL
);
INSERT INTO billing_counter (id, position) VALUES (1, 0);

CREATE TABLE billing_tickets (
    ticket     TEXT PRIMARY KEY,
    origin     TEXT NOT NULL,
    host       TEXT NOT NULL,
    program    TEXT NOT NULL,
    name       TEXT NOT NULL,
    copies     BIGINT NOT NULL,
    envelope   TEXT NOT NULL,
    first_seen BIGINT NOT NULL
);

-- The first slot seen for each place, to find the second.
CREATE TABLE billing_slots (
    ticket     TEXT NOT NULL,
    k          BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    envelope   TEXT NOT NULL,
    PRIMARY KEY (ticket, k, generation)
);

-- Proofs that a host gave one slot to two members; one for each place that is proven.
CREATE TABLE billing_proofs (
    ticket     TEXT NOT NULL,
    k          BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    host       TEXT NOT NULL,
    found_at   BIGINT NOT NULL,
    proof      TEXT NOT NULL,
    PRIMARY KEY (ticket, k, generation)
);
CREATE INDEX billing_proofs_by_host ON billing_proofs (host);

-- Every report once, with its answer. Rows are only ever added.
CREATE TABLE billing_log (
    position   BIGINT PRIMARY KEY,
    receipt    TEXT NOT NULL UNIQUE,
    subject    TEXT NOT NULL UNIQUE,
    ticket     TEXT NOT NULL REFERENCES billing_tickets (ticket),
    k          BIGINT,
    generation BIGINT,
    member     TEXT NOT NULL,
    session    TEXT,
    kind       TEXT NOT NULL,
    at         BIGINT NOT NULL,
    booked_at  BIGINT NOT NULL,
    verdict    TEXT NOT NULL,
    envelope   TEXT NOT NULL,
    ack        TEXT NOT NULL
);
CREATE INDEX billing_log_by_copy ON billing_log (ticket, member);

-- What an accepted report costs.
CREATE TABLE billing_charges (
    position BIGINT NOT NULL REFERENCES billing_log (position),
    line     BIGINT NOT NULL,
    payer    TEXT NOT NULL,
    kind     TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    price    BIGINT NOT NULL,
    currency TEXT,
    PRIMARY KEY (position, line)
);
CREATE INDEX billing_charges_by_payer ON billing_charges (payer);
