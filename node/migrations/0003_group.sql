-- What is there of a session's group besides its updates. `boot`: which run of this node seals frames now; never
-- lower, or nonces would repeat. `serial`: the newest place in this node's order when updates were last let go of.
CREATE TABLE groups (
    session TEXT PRIMARY KEY,
    boot    INTEGER NOT NULL DEFAULT 0,
    serial  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Up to which of a sender's updates checkpoints replace them: those are not here any more.
CREATE TABLE bases (
    session TEXT NOT NULL,
    sender  TEXT NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (session, sender)
) STRICT, WITHOUT ROWID;

-- What the signed item weighs, in bytes: `item` without the CBOR head around it.
ALTER TABLE updates ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
UPDATE updates SET size = length(item) - CASE
    WHEN length(item) > 65538 THEN 5
    WHEN length(item) > 257 THEN 3
    ELSE 2
END;

-- Whether it says that it replaces others. Whether that counts is another question.
ALTER TABLE updates ADD COLUMN covers INTEGER NOT NULL DEFAULT 0;
CREATE INDEX updates_that_cover ON updates (session, sender, number) WHERE covers = 1;
