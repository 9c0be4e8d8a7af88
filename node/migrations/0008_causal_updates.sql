-- Updates of before did not say what their senders had seen: they cannot be put in order, and their sessions cannot go
-- on. Programs and tickets stay.
DELETE FROM updates;
DELETE FROM bases;
DELETE FROM sessions;

-- From here on `sender` is a chain in both tables: the sender, and a slash and the start unless it is the first.
-- `covers` is 0, or 1 for an update that says that it replaces others, or 2 if that counts.
ALTER TABLE updates ADD COLUMN hash BLOB NOT NULL DEFAULT x'';
ALTER TABLE updates ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
CREATE INDEX updates_that_count ON updates (session, serial) WHERE covers = 2;

-- The hash of the newest that is covered; and how far this node had come by itself, if it has not had all of it.
ALTER TABLE bases ADD COLUMN hash BLOB NOT NULL DEFAULT x'';
ALTER TABLE bases ADD COLUMN had INTEGER;

-- The depth of the deepest update that ever was there; the start of this node's own chain; the serial of the checkpoint
-- by which this node passed over what it has not had, 0 for none.
ALTER TABLE groups ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN chain INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN landed INTEGER NOT NULL DEFAULT 0;
