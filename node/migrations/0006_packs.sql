-- Programs of the library that are content for another one, so that they are found by its name.
CREATE TABLE packs (
    program  TEXT PRIMARY KEY REFERENCES programs (program) ON DELETE CASCADE,
    pack_for TEXT NOT NULL,
    version  TEXT NOT NULL,
    -- Both or neither.
    low      INTEGER,
    high     INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX packs_by_program ON packs (pack_for);
