-- Times are nanoseconds since the Unix epoch, starts of buckets are seconds. The empty service stands for all services.
CREATE TABLE revisions (
    name TEXT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO revisions (name, revision) VALUES ('policies', 0), ('tokens', 0);

CREATE TABLE policy_versions (
    service TEXT NOT NULL,
    number BIGINT NOT NULL,
    document TEXT NOT NULL,
    digest TEXT NOT NULL,
    policies BIGINT NOT NULL,
    author TEXT NOT NULL,
    origin TEXT NOT NULL,
    reason TEXT NOT NULL,
    parent BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (service, number)
);

CREATE TABLE active_versions (
    service TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    activated_at BIGINT NOT NULL,
    activated_by TEXT NOT NULL,
    FOREIGN KEY (service, number) REFERENCES policy_versions (service, number)
);

CREATE TABLE activations (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service TEXT NOT NULL,
    number BIGINT,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX activations_by_service ON activations (service, seq);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

CREATE TABLE audit_log (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    request_id TEXT NOT NULL
);

CREATE TABLE patterns (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service TEXT NOT NULL,
    severity TEXT NOT NULL,
    pattern TEXT NOT NULL,
    template TEXT NOT NULL,
    example TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    UNIQUE (service, severity, pattern)
);

CREATE TABLE pattern_stats (
    pattern_id BIGINT NOT NULL,
    resolution BIGINT NOT NULL,
    start BIGINT NOT NULL,
    records BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    kept BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL,
    PRIMARY KEY (pattern_id, resolution, start)
);

CREATE TABLE ingested_batches (
    id TEXT NOT NULL PRIMARY KEY,
    received_at BIGINT NOT NULL
);
CREATE INDEX ingested_batches_by_time ON ingested_batches (received_at);

CREATE TABLE replicas (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    version TEXT NOT NULL,
    policy_hash TEXT NOT NULL,
    last_seen BIGINT NOT NULL
);

CREATE TABLE anomalies (
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    service TEXT NOT NULL,
    severity TEXT NOT NULL,
    pattern TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX anomalies_by_time ON anomalies (at);
