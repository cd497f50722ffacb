-- Anomalies that open, go on and end. `revision` is the reporter's time of what it says, `updated_at` when it was heard
-- here, `ended_at` null while it goes on.
ALTER TABLE anomalies ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE anomalies ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE anomalies ADD COLUMN ended_at BIGINT;
UPDATE anomalies SET revision = at, updated_at = at, ended_at = at;
CREATE INDEX anomalies_by_service ON anomalies (service, at);
CREATE INDEX anomalies_open ON anomalies (at) WHERE ended_at IS NULL;
