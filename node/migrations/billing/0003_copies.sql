-- Who has a copy, as far as is known: whether the slot's member reported it, and whether it has given it back. Until
-- now slots came with reports only.
ALTER TABLE billing_slots ADD COLUMN reported BIGINT NOT NULL DEFAULT 0;
ALTER TABLE billing_slots ADD COLUMN released BIGINT NOT NULL DEFAULT 0;
UPDATE billing_slots SET reported = 1;

-- A number with more holders than one is overdrawn.
CREATE INDEX billing_slots_held ON billing_slots (ticket, k) WHERE reported = 1 AND released = 0;
