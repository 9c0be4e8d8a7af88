-- What an agent has put aside, and up to which update it has taken them.
CREATE TABLE agent_states (
    session TEXT NOT NULL,
    -- 'agent' or 'host'
    part TEXT NOT NULL,
    state BLOB NOT NULL,
    serial INTEGER NOT NULL,
    PRIMARY KEY (session, part)
) STRICT, WITHOUT ROWID;

-- Keys and values of programs. `owner`: 'session:' and its id, or 'user:', the origin, '/' and the program's name.
CREATE TABLE agent_values (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
