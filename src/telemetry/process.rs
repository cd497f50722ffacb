//! Numbers of the process itself, under the names every Prometheus client uses.
//!
//! Promises: reads `/proc` only; where that is missing (not Linux) the numbers are left out, never guessed.
//! Never: fails a scrape.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::MetricSink;
use super::metrics::Families;

/// Clock ticks a second in `/proc/self/stat`; fixed in Linux' user interface (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// When this process was first asked; `run` asks at once.
fn started() -> (Instant, f64) {
    static STARTED: OnceLock<(Instant, f64)> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        (Instant::now(), unix)
    })
}

/// Remembers the start of the process; called first by `run`.
pub fn mark_start() {
    started();
}

/// Whole seconds since the start.
pub fn uptime_seconds() -> u64 {
    started().0.elapsed().as_secs()
}

/// Resident memory in bytes.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    parse_resident_bytes(&status)
}

/// Memory this process may use, in bytes: the smaller of the machine's and its control group's limit (cgroup v2, else v1).
pub fn available_bytes() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| parse_meminfo_total(&text));
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = group.into_iter().find_map(|path| parse_group_limit(&read(path)?));
    [machine, group].into_iter().flatten().min()
}

fn parse_meminfo_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// A number of bytes; `max` (v2) is no limit, and v1's page-aligned largest number is larger than any machine.
fn parse_group_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn parse_resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// User and system time of all threads.
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    parse_cpu_seconds(&stat)
}

fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    // The second field, the name, may contain blanks and parentheses; fields 14 and 15 are utime and stime.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// Writes the present values.
pub fn collect(out: &mut Families) {
    if let Some(bytes) = resident_bytes() {
        out.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", &[], bytes as f64);
    }
    if let Some(seconds) = cpu_seconds() {
        out.real_counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", seconds);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        out.gauge("process_open_fds", "Number of open file descriptors.", &[], open.count() as f64);
    }
    let (_, unix) = started();
    let help = "Start time of the process since unix epoch in seconds.";
    out.gauge("process_start_time_seconds", help, &[], unix);
    out.gauge("lipservice_uptime_seconds", "Time since the gateway started.", &[], uptime_seconds() as f64);
    let version = env!("CARGO_PKG_VERSION");
    out.gauge("lipservice_build_info", "The running version; always 1.", &[("version", version)], 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let status = "Name:\tx\nVmPeak:\t  900 kB\nVmRSS:\t    1234 kB\nThreads:\t2\n";
        assert_eq!(parse_resident_bytes(status), Some(1234 * 1024));
        assert_eq!(parse_resident_bytes("VmRSS: lots\n"), None);
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 100 1000 10";
        assert_eq!(parse_cpu_seconds(stat), Some(2.0));
        assert_eq!(parse_cpu_seconds("7 (a"), None);
    }

    #[test]
    fn this_process_has_numbers() {
        if !std::path::Path::new("/proc/self/status").exists() {
            eprintln!("SKIPPED: no /proc on this machine");
            return;
        }
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(cpu_seconds().is_some());
    }
}
