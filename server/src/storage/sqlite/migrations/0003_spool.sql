-- Envelopes are in the spool. What the table still holds is moved there at the next start, and
-- then it is dropped.

ALTER TABLE envelope RENAME TO envelope_of_before;
