//! What several tests stand on.

pub mod fake_posthog;
//! Shared by the integration tests.

pub mod otlp;
