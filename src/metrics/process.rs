//! What the system says about this process; names as Prometheus client libraries have them.

use super::kinds::Text;
use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

/// Clock ticks in a second that `/proc` counts in: 100 on every Linux that user space sees.
const TICKS: f64 = 100.0;

/// Adds this process's memory, CPU, files, threads and age, as far as the system tells.
pub(super) fn render(text: &mut Text, started: SystemTime) {
    text.plain(
        "hongyan_build_info",
        "Always 1; the version is the label.",
        "gauge",
        concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"),
        1,
    );
    if let Ok(age) = started.duration_since(UNIX_EPOCH) {
        let (name, help) = ("process_start_time_seconds", "When the process started, in seconds since 1970.");
        text.plain(name, help, "gauge", "", age.as_secs_f64());
    }
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        for (field, name, help, unit) in [
            ("VmRSS:", "process_resident_memory_bytes", "Resident memory.", 1_024),
            ("VmSize:", "process_virtual_memory_bytes", "Virtual memory.", 1_024),
            ("Threads:", "process_threads", "Threads.", 1),
        ] {
            if let Some(value) = number_after(&status, field) {
                text.plain(name, help, "gauge", "", value * unit);
            }
        }
    }
    if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds) {
        let (name, help) = ("process_cpu_seconds_total", "User and system CPU time.");
        text.plain(name, help, "counter", "", seconds);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        text.plain("process_open_fds", "Open files and sockets.", "gauge", "", files.count());
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(max) = number_after(&limits, "Max open files") {
        text.plain("process_max_fds", "Files and sockets that may be open.", "gauge", "", max);
    }
}

/// The first number after `field`, which starts a line.
fn number_after(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time of `/proc/self/stat`; source: proc(5), fields 14 and 15.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // Field 2, the name, stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_process_name() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("garbage"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_files() {
        let mut text = Text::default();
        render(&mut text, SystemTime::now());
        let text = text.finish();
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_max_fds"] {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            assert!(line.rsplit(' ').next().unwrap().parse::<u64>().unwrap() > 0, "{line}");
        }
    }
}
