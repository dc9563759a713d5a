-- A keyed check value over each stored body and the columns that it stands beside: a page that
-- was damaged on disk is noticed before it is handed out. 8 bytes of a row of 1.1 KB, and as
-- many rows still fit a page. Rows of before have none and go with their day.

ALTER TABLE envelope ADD COLUMN tag BLOB CHECK (tag IS NULL OR length(tag) = 8);
ALTER TABLE commit_slot ADD COLUMN tag BLOB CHECK (tag IS NULL OR length(tag) = 8);

-- Sums of a blob's durable bytes: CRC-32 of each 64 KiB, 4 bytes each.
ALTER TABLE blob ADD COLUMN sums BLOB;
