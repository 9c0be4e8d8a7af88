-- One number may be granted by several hosts, as copies are handed over, and more than one of them may cheat
-- with it: so proofs are kept one for each place and host.
CREATE TABLE billing_proofs_by_host_too (
    ticket     TEXT NOT NULL,
    k          BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    host       TEXT NOT NULL,
    found_at   BIGINT NOT NULL,
    proof      TEXT NOT NULL,
    PRIMARY KEY (ticket, k, generation, host)
);
INSERT INTO billing_proofs_by_host_too (ticket, k, generation, host, found_at, proof)
    SELECT ticket, k, generation, host, found_at, proof FROM billing_proofs;
DROP TABLE billing_proofs;
ALTER TABLE billing_proofs_by_host_too RENAME TO billing_proofs;
CREATE INDEX billing_proofs_by_host ON billing_proofs (host);
