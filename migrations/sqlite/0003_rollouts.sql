-- A version on its way into force. Plan and state are JSON; a row with ended_at is history.
CREATE TABLE rollouts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    number BIGINT NOT NULL,
    parent BIGINT,
    phase TEXT NOT NULL,
    plan TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at BIGINT,
    FOREIGN KEY (service, number) REFERENCES policy_versions (service, number)
);
CREATE INDEX rollouts_by_service ON rollouts (service, id);

-- What gateways counted in a stage since they joined it: the newest word of each replaces the one before.
CREATE TABLE rollout_counts (
    rollout BIGINT NOT NULL,
    stage BIGINT NOT NULL,
    replica TEXT NOT NULL,
    service TEXT NOT NULL,
    arm TEXT NOT NULL,
    records BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    kept BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL,
    errors_lost BIGINT NOT NULL,
    anomalous BIGINT NOT NULL,
    anomalous_kept BIGINT NOT NULL,
    PRIMARY KEY (rollout, stage, replica, service, arm)
) WITHOUT ROWID;
