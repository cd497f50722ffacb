-- Buckets of a minute between those of 10 s and of 5 minutes, kept as long as those of 10 s: a span of minutes that begins and
-- ends anywhere then reads some ten buckets of each pattern in place of twenty-six.
CREATE TABLE counts_1m (
    pattern_id BIGINT NOT NULL,
    start BIGINT NOT NULL,
    records BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    kept BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL,
    PRIMARY KEY (pattern_id, start)
) WITHOUT ROWID;
INSERT INTO counts_1m (pattern_id, start, records, bytes, kept, kept_bytes)
    SELECT pattern_id, (start / 60) * 60, CAST(SUM(records) AS BIGINT), CAST(SUM(bytes) AS BIGINT),
    CAST(SUM(kept) AS BIGINT), CAST(SUM(kept_bytes) AS BIGINT)
    FROM counts_10s GROUP BY pattern_id, (start / 60) * 60;
