//! Refuse new work before memory runs out, as the Collector's memory_limiter does.
//!
//! Purpose: compare resident memory with two limits at a fixed interval and keep the answer where asking is one load.
//! Promises: above the soft limit (`limit_mib` less `spike_limit_mib`) requests should be told to retry; without
//! configuration, or without `/proc`, it never limits and says so in its metrics.
//! Never: refuses anything itself, allocates, or knows the data plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::config::MemoryLimiterConfig;
use super::{MetricSink, MetricSource, process};
use crate::shutdown::Shutdown;
use crate::units::Period;

/// Where memory stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryState {
    /// Below both limits.
    Normal,
    /// Refuse new requests, retryably.
    OverSoft,
    /// The same, and more than a spike above: something does not give memory back.
    OverHard,
}

/// Limits and the last reading. Shared between a refreshing task and whoever asks.
#[derive(Debug)]
pub struct MemoryLimiter {
    /// `u64::MAX` without a limit.
    soft_bytes: AtomicU64,
    hard_bytes: AtomicU64,
    check_interval_nanos: AtomicU64,
    resident_bytes: AtomicU64,
    state: AtomicU8,
}

impl MemoryLimiter {
    /// With the limits of a configuration; without one it never limits.
    pub fn new(config: Option<&MemoryLimiterConfig>) -> Self {
        let limiter = MemoryLimiter {
            soft_bytes: AtomicU64::new(u64::MAX),
            hard_bytes: AtomicU64::new(u64::MAX),
            check_interval_nanos: AtomicU64::new(0),
            resident_bytes: AtomicU64::new(0),
            state: AtomicU8::new(MemoryState::Normal as u8),
        };
        limiter.configure(config);
        limiter
    }

    /// Changes the limits, at a reload, and applies them to the last reading.
    pub fn configure(&self, config: Option<&MemoryLimiterConfig>) {
        let (hard, soft) = match config {
            Some(config) => limits(config, process::available_bytes()),
            None => (u64::MAX, u64::MAX),
        };
        let interval = config.map_or(Period::secs(1), |config| config.check_interval);
        self.hard_bytes.store(hard, Ordering::Relaxed);
        self.soft_bytes.store(soft, Ordering::Relaxed);
        self.check_interval_nanos
            .store(u64::try_from(interval.0.as_nanos()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
        self.check(self.resident_bytes.load(Ordering::Relaxed));
    }

    /// Takes a reading of resident memory, in bytes.
    pub fn check(&self, resident_bytes: u64) -> MemoryState {
        self.resident_bytes.store(resident_bytes, Ordering::Relaxed);
        let state = if resident_bytes >= self.hard_bytes.load(Ordering::Relaxed) {
            MemoryState::OverHard
        } else if resident_bytes >= self.soft_bytes.load(Ordering::Relaxed) {
            MemoryState::OverSoft
        } else {
            MemoryState::Normal
        };
        self.state.store(state as u8, Ordering::Relaxed);
        state
    }

    /// Whether new requests should be told to retry. One relaxed load.
    pub fn is_over_soft(&self) -> bool {
        self.state.load(Ordering::Relaxed) >= MemoryState::OverSoft as u8
    }

    /// Whether even the hard limit is passed.
    pub fn is_over_hard(&self) -> bool {
        self.state.load(Ordering::Relaxed) >= MemoryState::OverHard as u8
    }

    /// What to tell a client, naming the setting.
    pub fn refusal(&self) -> String {
        let mib = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed) >> 20;
        format!(
            "the gateway uses {} MiB of memory and refuses requests above {} MiB; processors.memory_limiter.limit_mib or \
             limit_percentage raises the limit",
            mib(&self.resident_bytes),
            mib(&self.soft_bytes)
        )
    }

    fn interval(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.check_interval_nanos.load(Ordering::Relaxed))
    }
}

/// Hard and soft limit in bytes. `limit_mib` goes first, as in the Collector; a percentage of memory that cannot be read is
/// no limit.
fn limits(config: &MemoryLimiterConfig, available_bytes: Option<u64>) -> (u64, u64) {
    let (limit, spike, unit) = match available_bytes {
        _ if config.limit_mib > 0 => (config.limit_mib, config.spike_limit_mib, 1 << 20),
        Some(bytes) => (config.limit_percentage, config.spike_limit_percentage, bytes / 100),
        None => return (u64::MAX, u64::MAX),
    };
    // A fifth, also of a percentage below five.
    let hard = limit.saturating_mul(unit);
    let spike = spike.map_or(hard / 5, |spike| spike.saturating_mul(unit));
    (hard, hard.saturating_sub(spike))
}

/// Reads memory at the configured interval until the signal.
pub async fn refresh(limiter: Arc<MemoryLimiter>, stop: Shutdown) {
    let mut before = MemoryState::Normal;
    loop {
        if let Some(resident_bytes) = process::resident_bytes() {
            let now = limiter.check(resident_bytes);
            match (before, now) {
                (before, now) if before == now => {}
                (_, MemoryState::Normal) => tracing::info!(resident_bytes, "memory is below the soft limit again"),
                (_, MemoryState::OverSoft) => {
                    tracing::warn!(resident_bytes, "memory is above the soft limit: clients are told to retry");
                }
                (_, MemoryState::OverHard) => {
                    tracing::error!(resident_bytes, "memory is above the hard limit: clients are told to retry");
                }
            }
            before = now;
        }
        tokio::select! {
            () = tokio::time::sleep(limiter.interval()) => {}
            () = stop.triggered() => return,
        }
    }
}

impl MetricSource for MemoryLimiter {
    fn collect(&self, out: &mut dyn MetricSink) {
        let soft = self.soft_bytes.load(Ordering::Relaxed);
        if soft == u64::MAX {
            return;
        }
        let hard = self.hard_bytes.load(Ordering::Relaxed);
        let help = "Resident memory at which requests are refused (soft) and which should never be passed (hard).";
        out.gauge("lipservice_memory_limit_bytes", help, &[("limit", "soft")], soft as f64);
        out.gauge("lipservice_memory_limit_bytes", help, &[("limit", "hard")], hard as f64);
        let refusing = if self.is_over_soft() { 1.0 } else { 0.0 };
        out.gauge("lipservice_memory_refusing", "1 while requests are refused for want of memory.", &[], refusing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(limit_mib: u64, spike_limit_mib: Option<u64>) -> MemoryLimiterConfig {
        MemoryLimiterConfig { limit_mib, spike_limit_mib, ..MemoryLimiterConfig::default() }
    }

    #[test]
    fn states_follow_the_readings() {
        const MIB: u64 = 1 << 20;
        let limiter = MemoryLimiter::new(Some(&config(100, None)));
        for (resident_bytes, state, soft, hard) in [
            (0, MemoryState::Normal, false, false),
            (80 * MIB - 1, MemoryState::Normal, false, false),
            (80 * MIB, MemoryState::OverSoft, true, false),
            (100 * MIB, MemoryState::OverHard, true, true),
            (79 * MIB, MemoryState::Normal, false, false),
        ] {
            assert_eq!(limiter.check(resident_bytes), state);
            assert_eq!((limiter.is_over_soft(), limiter.is_over_hard()), (soft, hard));
        }
        limiter.check(90 * MIB);
        limiter.configure(Some(&config(100, Some(5))));
        assert!(!limiter.is_over_soft());
        limiter.configure(Some(&config(90, Some(5))));
        assert!(limiter.is_over_hard());
        assert!(limiter.refusal().contains("uses 90 MiB of memory and refuses requests above 85 MiB"));
        limiter.configure(None);
        assert!(!limiter.is_over_soft());
    }

    #[test]
    fn percentages_are_of_the_memory_there_is() {
        const GIB: u64 = 1 << 30;
        let percent = |limit_percentage, spike_limit_percentage| MemoryLimiterConfig {
            limit_percentage,
            spike_limit_percentage,
            ..MemoryLimiterConfig::default()
        };
        for (config, available, hard, soft) in [
            (percent(50, Some(10)), Some(100 * GIB), 50 * GIB, 40 * GIB),
            (percent(50, None), Some(100 * GIB), 50 * GIB, 40 * GIB),
            (percent(50, None), None, u64::MAX, u64::MAX),
            (MemoryLimiterConfig { limit_mib: 1024, ..percent(50, Some(1)) }, Some(100 * GIB), GIB, GIB - GIB / 5),
            (MemoryLimiterConfig { limit_mib: 1024, ..percent(50, Some(1)) }, None, GIB, GIB - GIB / 5),
        ] {
            assert_eq!(limits(&config, available), (hard, soft), "{config:?} {available:?}");
        }
        assert!(process::available_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn without_limits_it_never_limits() {
        let limiter = MemoryLimiter::new(None);
        assert_eq!(limiter.check(u64::MAX - 1), MemoryState::Normal);
    }

    #[tokio::test]
    async fn it_reads_until_the_signal() {
        let limiter = Arc::new(MemoryLimiter::new(Some(&config(1, Some(0)))));
        let stop = Shutdown::new();
        let task = tokio::spawn(refresh(limiter.clone(), stop.clone()));
        stop.trigger();
        tokio::time::timeout(std::time::Duration::from_secs(10), task).await.unwrap().unwrap();
        // One reading at least was taken, and a test binary is larger than 1 MiB.
        assert!(limiter.is_over_hard() || process::resident_bytes().is_none());
    }
}
