-- Statistics at four lengths of bucket at once: 10 s, 5 minutes, an hour, a day. A count stands in each length that is kept
-- at its age; `stats_bounds` says from where on a length is complete. `scope_counts` has the same counts summed over the
-- patterns of a service ('service:NAME') and over everything ('global').
CREATE TABLE stats_bounds (
    resolution BIGINT NOT NULL PRIMARY KEY,
    start BIGINT NOT NULL
);
-- Until here a count stood in one bucket: short ones are complete behind the last long one.
INSERT INTO stats_bounds (resolution, start) SELECT 10, COALESCE(MAX(stop), 0) FROM (
    SELECT MAX(start) + 300 AS stop FROM pattern_stats WHERE resolution = 300
    UNION ALL SELECT MAX(start) + 3600 FROM pattern_stats WHERE resolution = 3600
) stops;
INSERT INTO stats_bounds (resolution, start)
    SELECT 300, COALESCE(MAX(start) + 3600, 0) FROM pattern_stats WHERE resolution = 3600;
INSERT INTO stats_bounds (resolution, start) VALUES (3600, 0);

-- Room in each page: a count is updated without touching an index.
CREATE TABLE counts_10s (
    pattern_id BIGINT NOT NULL,
    start BIGINT NOT NULL,
    records BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    kept BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL,
    PRIMARY KEY (pattern_id, start)
) WITH (fillfactor = 80);
CREATE INDEX counts_10s_by_start ON counts_10s (start);
CREATE TABLE counts_5m (
    pattern_id BIGINT NOT NULL,
    start BIGINT NOT NULL,
    records BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    kept BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL,
    PRIMARY KEY (pattern_id, start)
) WITH (fillfactor = 80);
CREATE INDEX counts_5m_by_start ON counts_5m (start);
CREATE TABLE counts_1h (
    pattern_id BIGINT NOT NULL,
    start BIGINT NOT NULL,
    records BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    kept BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL,
    PRIMARY KEY (pattern_id, start)
) WITH (fillfactor = 80);
CREATE INDEX counts_1h_by_start ON counts_1h (start);
CREATE TABLE counts_1d (
    pattern_id BIGINT NOT NULL,
    start BIGINT NOT NULL,
    records BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    kept BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL,
    PRIMARY KEY (pattern_id, start)
) WITH (fillfactor = 80);
CREATE INDEX counts_1d_by_start ON counts_1d (start);
CREATE TABLE scope_counts (
    scope TEXT NOT NULL,
    resolution BIGINT NOT NULL,
    start BIGINT NOT NULL,
    records BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    kept BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL,
    PRIMARY KEY (scope, resolution, start)
) WITH (fillfactor = 80);

INSERT INTO counts_10s (pattern_id, start, records, bytes, kept, kept_bytes)
    SELECT pattern_id, start, CAST(SUM(records) AS BIGINT), CAST(SUM(bytes) AS BIGINT),
    CAST(SUM(kept) AS BIGINT), CAST(SUM(kept_bytes) AS BIGINT)
    FROM pattern_stats
    WHERE start >= (SELECT b.start FROM stats_bounds b WHERE b.resolution = 10) AND resolution = 10 GROUP BY pattern_id, start;
INSERT INTO counts_5m (pattern_id, start, records, bytes, kept, kept_bytes)
    SELECT pattern_id, (start / 300) * 300, CAST(SUM(records) AS BIGINT), CAST(SUM(bytes) AS BIGINT),
    CAST(SUM(kept) AS BIGINT), CAST(SUM(kept_bytes) AS BIGINT)
    FROM pattern_stats
    WHERE start >= (SELECT b.start FROM stats_bounds b WHERE b.resolution = 300) AND resolution IN (10, 300) GROUP BY pattern_id, (start / 300) * 300;
INSERT INTO counts_1h (pattern_id, start, records, bytes, kept, kept_bytes)
    SELECT pattern_id, (start / 3600) * 3600, CAST(SUM(records) AS BIGINT), CAST(SUM(bytes) AS BIGINT),
    CAST(SUM(kept) AS BIGINT), CAST(SUM(kept_bytes) AS BIGINT)
    FROM pattern_stats GROUP BY pattern_id, (start / 3600) * 3600;
INSERT INTO counts_1d (pattern_id, start, records, bytes, kept, kept_bytes)
    SELECT pattern_id, (start / 86400) * 86400, CAST(SUM(records) AS BIGINT), CAST(SUM(bytes) AS BIGINT),
    CAST(SUM(kept) AS BIGINT), CAST(SUM(kept_bytes) AS BIGINT)
    FROM pattern_stats GROUP BY pattern_id, (start / 86400) * 86400;
INSERT INTO scope_counts (scope, resolution, start, records, bytes, kept, kept_bytes)
    SELECT 'service:' || p.service, 10, s.start, CAST(SUM(s.records) AS BIGINT), CAST(SUM(s.bytes) AS BIGINT),
    CAST(SUM(s.kept) AS BIGINT), CAST(SUM(s.kept_bytes) AS BIGINT)
    FROM counts_10s s JOIN patterns p ON p.id = s.pattern_id GROUP BY p.service, s.start;
INSERT INTO scope_counts (scope, resolution, start, records, bytes, kept, kept_bytes)
    SELECT 'service:' || p.service, 300, s.start, CAST(SUM(s.records) AS BIGINT), CAST(SUM(s.bytes) AS BIGINT),
    CAST(SUM(s.kept) AS BIGINT), CAST(SUM(s.kept_bytes) AS BIGINT)
    FROM counts_5m s JOIN patterns p ON p.id = s.pattern_id GROUP BY p.service, s.start;
INSERT INTO scope_counts (scope, resolution, start, records, bytes, kept, kept_bytes)
    SELECT 'service:' || p.service, 3600, s.start, CAST(SUM(s.records) AS BIGINT), CAST(SUM(s.bytes) AS BIGINT),
    CAST(SUM(s.kept) AS BIGINT), CAST(SUM(s.kept_bytes) AS BIGINT)
    FROM counts_1h s JOIN patterns p ON p.id = s.pattern_id GROUP BY p.service, s.start;
INSERT INTO scope_counts (scope, resolution, start, records, bytes, kept, kept_bytes)
    SELECT 'service:' || p.service, 86400, s.start, CAST(SUM(s.records) AS BIGINT), CAST(SUM(s.bytes) AS BIGINT),
    CAST(SUM(s.kept) AS BIGINT), CAST(SUM(s.kept_bytes) AS BIGINT)
    FROM counts_1d s JOIN patterns p ON p.id = s.pattern_id GROUP BY p.service, s.start;
INSERT INTO scope_counts (scope, resolution, start, records, bytes, kept, kept_bytes)
    SELECT 'global', resolution, start, CAST(SUM(records) AS BIGINT), CAST(SUM(bytes) AS BIGINT),
    CAST(SUM(kept) AS BIGINT), CAST(SUM(kept_bytes) AS BIGINT)
    FROM scope_counts GROUP BY resolution, start;
DROP TABLE pattern_stats;
