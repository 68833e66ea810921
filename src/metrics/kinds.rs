//! Kinds of metrics, and how they are written.

use parking_lot::RwLock;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// How many by now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// One less.
    pub fn dec(&self) {
        self.add(-1);
    }

    /// `n` more, or less when negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Exactly `n`.
    pub fn set(&self, n: usize) {
        self.0.store(i64::try_from(n).unwrap_or(i64::MAX), Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// How often values fell below fixed bounds.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds, inclusive, growing, in raw units.
    bounds: &'static [u64],
    /// One for each bound, and one for what is above all.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    /// Raw units in one rendered unit.
    scale: f64,
}

impl Histogram {
    /// Of plain numbers.
    #[must_use]
    pub fn counts(bounds: &'static [u64]) -> Self {
        Self::new(bounds, 1.0)
    }

    /// Of times: bounds in microseconds, rendered in seconds.
    #[must_use]
    pub fn seconds(bounds: &'static [u64]) -> Self {
        Self::new(bounds, 1e6)
    }

    fn new(bounds: &'static [u64], scale: f64) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, sum: AtomicU64::new(0), scale }
    }

    /// Counts one value in raw units.
    pub fn observe(&self, value: u64) {
        let at = self.bounds.partition_point(|&bound| bound < value);
        self.buckets[at].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Counts one time; for histograms of times.
    pub fn observe_time(&self, value: Duration) {
        self.observe(u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }
}

/// Metrics of one name, told apart by the value of one label.
///
/// Label values are static, so their number is bounded by the program's text.
#[derive(Debug)]
pub struct Family<T> {
    label: &'static str,
    members: RwLock<BTreeMap<&'static str, Arc<T>>>,
}

impl<T: Default> Family<T> {
    /// An empty family.
    #[must_use]
    pub const fn new(label: &'static str) -> Self {
        Self { label, members: RwLock::new(BTreeMap::new()) }
    }

    /// The member with this label value, made when it is new. Keep it where it is used often.
    pub fn get(&self, value: &'static str) -> Arc<T> {
        if let Some(member) = self.members.read().get(value) {
            return Arc::clone(member);
        }
        Arc::clone(self.members.write().entry(value).or_default())
    }
}

/// Something that can be written as Prometheus text.
pub trait Render {
    /// Its name in `# TYPE`.
    const KIND: &'static str;

    /// Writes the samples; `labels` is empty or `{label="value"}`.
    fn samples(&self, text: &mut Text, name: &str, labels: &str);
}

impl Render for Counter {
    const KIND: &'static str = "counter";

    fn samples(&self, text: &mut Text, name: &str, labels: &str) {
        text.sample(name, labels, self.get());
    }
}

impl Render for Gauge {
    const KIND: &'static str = "gauge";

    fn samples(&self, text: &mut Text, name: &str, labels: &str) {
        text.sample(name, labels, self.get());
    }
}

impl Render for Histogram {
    const KIND: &'static str = "histogram";

    fn samples(&self, text: &mut Text, name: &str, _labels: &str) {
        let bucket_name = format!("{name}_bucket");
        let mut below = 0;
        for (bucket, bound) in self.buckets.iter().zip(self.bounds) {
            below += bucket.load(Relaxed);
            let le = *bound as f64 / self.scale;
            text.sample(&bucket_name, &format!("{{le=\"{le}\"}}"), below);
        }
        below += self.buckets[self.bounds.len()].load(Relaxed);
        text.sample(&bucket_name, "{le=\"+Inf\"}", below);
        let sum = self.sum.load(Relaxed) as f64 / self.scale;
        text.sample(&format!("{name}_sum"), "", sum);
        text.sample(&format!("{name}_count"), "", below);
    }
}

impl<T: Render> Render for Family<T> {
    const KIND: &'static str = T::KIND;

    fn samples(&self, text: &mut Text, name: &str, _labels: &str) {
        for (value, member) in &*self.members.read() {
            member.samples(text, name, &format!("{{{}=\"{}\"}}", self.label, escaped(value)));
        }
    }
}

/// A label value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Text in the making.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Adds a metric with its head.
    pub fn metric<T: Render>(&mut self, name: &str, help: &str, metric: &T) {
        self.head(name, help, T::KIND);
        metric.samples(self, name, "");
    }

    /// Adds a metric of one sample with its head.
    pub fn plain(&mut self, name: &str, help: &str, kind: &str, labels: &str, value: impl std::fmt::Display) {
        self.head(name, help, kind);
        self.sample(name, labels, value);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_counts_below_it() {
        let histogram = Histogram::counts(&[1, 10]);
        for value in [0, 1, 10, 11] {
            histogram.observe(value);
        }
        let counts: Vec<_> = histogram.buckets.iter().map(|b| b.load(Relaxed)).collect();
        assert_eq!(counts, [2, 1, 1]);
        assert_eq!(histogram.count(), 4);
    }

    #[test]
    fn a_family_gives_the_same_member_for_the_same_value() {
        let family = Family::<Counter>::new("code");
        family.get("busy").inc();
        family.get("busy").inc();
        assert_eq!(family.get("busy").get(), 2);
        assert_eq!(family.get("other").get(), 0);
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
