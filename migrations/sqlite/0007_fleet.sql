-- How often a replica reports, when it shares rate limits with others; 0 for one that does not.
ALTER TABLE replicas ADD COLUMN report_seconds BIGINT NOT NULL DEFAULT 0;
