//! What several tests stand on.

pub mod fake_llm;
pub mod fake_posthog;
pub mod fleet;
pub mod otlp;
pub mod servers;
