//! What the system and the server say of themselves: CPU, memory, disk, metrics.

use anyhow::{Context as _, anyhow};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::Path,
    time::Instant,
};

/// Clock ticks in a second that `/proc` counts in: 100 on every Linux that user space sees.
const TICKS: f64 = 100.0;
/// Appends that a disk is judged by.
const APPENDS: usize = 100;
/// Bytes of each.
const APPEND_BYTES: usize = 4_096;

/// CPU seconds that a process has used, all threads.
///
/// # Errors
/// When there is no such process.
pub(super) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the server is gone")?;
    cpu_of(&stat).ok_or_else(|| anyhow!("/proc/{pid}/stat cannot be read"))
}

/// User and system time; source: proc(5), fields 14 and 15.
fn cpu_of(stat: &str) -> Option<f64> {
    // Field 2, the name, stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / TICKS)
}

/// Resident memory of a process in KiB.
///
/// # Errors
/// When there is no such process.
pub(super) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the server is gone")?;
    number_after(&status, "VmRSS:").ok_or_else(|| anyhow!("/proc/{pid}/status has no VmRSS"))
}

/// How many files this process may have open, soft and hard.
pub(super) fn open_files() -> Option<(u64, u64)> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
    Some((numbers.next()?, numbers.next()?))
}

fn number_after(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Kind of the file system that `path` is on; source: proc(5), `/proc/mounts`.
pub(super) fn file_system(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
        path.starts_with(&at).then_some((at.len(), kind))
    };
    mounts.lines().filter_map(mount).max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

/// What several measurements of one thing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spread {
    /// The smallest.
    pub(super) min: f64,
    /// The one in the middle.
    pub(super) median: f64,
    /// The largest.
    pub(super) max: f64,
}

impl Spread {
    /// That of `values`; zeros when there are none.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        Self { min: at(0), median: at(values.len() / 2), max: at(values.len().saturating_sub(1)) }
    }
}

/// How long the disk of `folder` takes to make 4 KiB more of a file durable with fdatasync, in microseconds.
///
/// # Errors
/// What the system says.
pub(super) fn disk(folder: &Path) -> anyhow::Result<Spread> {
    let path = folder.join("disk-probe");
    let probe = || -> std::io::Result<Vec<f64>> {
        let mut file: File = OpenOptions::new().create_new(true).append(true).open(&path)?;
        let block = [0x5A; APPEND_BYTES];
        let mut append = |_| {
            let start = Instant::now();
            file.write_all(&block)?;
            file.sync_data()?;
            Ok(start.elapsed().as_secs_f64() * 1e6)
        };
        (0..APPENDS).map(&mut append).collect()
    };
    let times = probe();
    // Left behind it does no harm: the folder goes as a whole.
    let _ = fs::remove_file(&path);
    Ok(Spread::of(times.with_context(|| format!("the disk of {} cannot be measured", folder.display()))?))
}

/// Samples of a Prometheus text, by name with labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// Reads a text; lines that are no samples are passed over.
    pub(super) fn read(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// What was added since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let grown = |(name, value): (&String, &f64)| {
            (name.clone(), value - before.0.get(name).copied().unwrap_or_default())
        };
        Self(self.0.iter().map(grown).collect())
    }

    /// Adds those of another server.
    pub(super) fn add(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            *self.0.entry(name.clone()).or_default() += value;
        }
    }

    /// A sample; 0 when there is none.
    pub(super) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// A quantile of a histogram, between the bounds of its bucket; `None` when nothing was observed.
    pub(super) fn quantile(&self, name: &str, quantile: f64) -> Option<f64> {
        let wanted = self.get(&format!("{name}_count")) * quantile;
        let begin = format!("{name}_bucket{{le=\"");
        let bucket = |(key, count): (&String, &f64)| {
            let bound = key.strip_prefix(&begin)?.strip_suffix("\"}")?.parse::<f64>().ok()?;
            Some((bound, *count))
        };
        let mut buckets: Vec<_> = self.0.iter().filter_map(bucket).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut below = (0.0, 0.0);
        for (bound, count) in buckets {
            if wanted > 0.0 && count >= wanted {
                if !bound.is_finite() {
                    return Some(below.0);
                }
                return Some(below.0 + (bound - below.0) * (wanted - below.1) / (count - below.1));
            }
            below = (bound, count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_tell_their_cpu_time_and_memory() {
        assert_eq!(cpu_of("42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20"), Some(2.0));
        assert_eq!(cpu_of("garbage"), None);
        assert!(resident_kib(std::process::id()).unwrap() > 0);
        assert!(cpu_seconds(std::process::id()).is_ok());
        let (soft, hard) = open_files().unwrap();
        assert!(soft > 0 && soft <= hard);
    }

    #[test]
    fn the_disk_is_measured_and_the_probe_removed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path()).unwrap();
        assert!(disk.min > 0.0 && disk.min <= disk.median && disk.median <= disk.max);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(file_system(folder.path()).is_some());
        let of = Spread::of(vec![3.0, 1.0, 9.0, 2.0, 4.0]);
        assert_eq!((of.min, of.median, of.max), (1.0, 3.0, 9.0));
    }

    #[test]
    fn metrics_are_read_and_their_growth_too() {
        let text = |a: u32, b: u32, c: u32| {
            Samples::read(&format!(
                "# HELP x_seconds X.\nx_seconds_bucket{{le=\"0.001\"}} {a}\nx_seconds_bucket{{le=\"0.002\"}} {b}\n\
                 x_seconds_bucket{{le=\"+Inf\"}} {c}\nx_seconds_count {c}\ny_total{{a=\"b c\"}} {c}\n"
            ))
        };
        let grown = text(10, 30, 30).since(&text(10, 10, 10));
        assert_eq!(grown.get("y_total{a=\"b c\"}"), 20.0);
        assert!((grown.quantile("x_seconds", 0.5).unwrap() - 0.0015).abs() < 1e-9);
        assert_eq!(text(0, 0, 4).quantile("x_seconds", 0.5), Some(0.002));
        assert_eq!(text(0, 0, 0).quantile("x_seconds", 0.5), None);
        assert_eq!(text(1, 1, 1).quantile("other", 0.5), None);
        let mut sum = text(1, 2, 3);
        sum.add(&text(10, 20, 30));
        assert_eq!(sum, text(11, 22, 33));
    }
}
