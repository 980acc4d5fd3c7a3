//! What came of a history, in numbers and in words.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{History, Moment};

/// Violations of a kind that are told in words; the others are counted.
const TOLD: usize = 5;

/// What came of a history.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// By QoS.
    pub published: [u64; 3],
    /// By QoS: those with PUBACK or PUBREC.
    pub acked: [u64; 3],
    /// By the QoS that they came with.
    pub delivered: [u64; 3],
    pub retained: u64,
    /// Pairs of an acknowledged QoS 1 or 2 message and a subscriber, or group, that it is owed to, and that got it.
    pub owed: u64,
    /// Pairs of a QoS 0 message and a subscriber that would have got it from a single broker, and those that did.
    pub best_effort: (u64, u64),
    /// More than one copy where that is allowed: QoS 1.
    pub duplicates: u64,
    /// Not delivered, and excused: by reason.
    pub exempt: BTreeMap<&'static str, Told>,
    /// Not delivered, and not owed: by reason.
    pub not_owed: BTreeMap<&'static str, u64>,
    /// By kind.
    pub violations: BTreeMap<&'static str, Told>,
    /// Times between two events, by name.
    pub times: BTreeMap<&'static str, Vec<Moment>>,
}

/// How many of a kind there are, and the first few in words.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub count: u64,
    words: Vec<String>,
}

impl Told {
    fn add(&mut self, told: impl FnOnce() -> String) {
        self.count += 1;
        if self.words.len() < TOLD {
            self.words.push(told());
        }
    }
}

impl Verdict {
    pub(super) fn violation(&mut self, kind: &'static str, told: impl FnOnce() -> String) {
        self.violations.entry(kind).or_default().add(told);
    }

    pub(super) fn exemption(&mut self, reason: &'static str, told: impl FnOnce() -> String) {
        self.exempt.entry(reason).or_default().add(told);
    }

    pub(super) fn took(&mut self, what: &'static str, time: Moment) {
        self.times.entry(what).or_default().push(time);
    }

    /// Violations of a kind.
    pub fn count(&self, kind: &str) -> u64 {
        self.violations.get(kind).map_or(0, |told| told.count)
    }

    pub fn is_kept(&self) -> bool {
        self.violations.is_empty()
    }

    /// What is exempt, all reasons together but for these.
    pub fn exempted(&self, except: &[&str]) -> u64 {
        let counted = self.exempt.iter().filter(|(reason, _)| !except.contains(reason));
        counted.map(|(_, told)| told.count).sum()
    }

    /// What is exempt, as a share of what would be owed.
    pub fn exempt_share(&self) -> f64 {
        let exempt = self.exempted(&[]);
        exempt as f64 / (self.owed + exempt).max(1) as f64
    }

    /// # Panics
    /// With all that is known, if a promise was not kept; the history is in a file then.
    #[track_caller]
    pub fn assert_kept(&self, history: &History) {
        println!("{self}");
        if !self.is_kept() {
            let path = history.save();
            panic!("promises were not kept; seed {}, history in {path:?}\n{self}", history.seed);
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<34}{:>9} {:>9} {:>9}", "", "QoS 0", "QoS 1", "QoS 2")?;
        for (name, counts) in
            [("published", self.published), ("acknowledged", self.acked), ("delivered", self.delivered)]
        {
            writeln!(f, "{name:<34}{:>9} {:>9} {:>9}", counts[0], counts[1], counts[2])?;
        }
        let (could, did) = self.best_effort;
        let (retained, duplicates) = (self.retained, self.duplicates);
        writeln!(f, "QoS 0: {did} of {could} came; {retained} retained; {duplicates} duplicates of QoS 1")?;
        writeln!(f, "owed and delivered: {}; exempt: {:.4} %", self.owed, 100.0 * self.exempt_share())?;
        for (reason, told) in &self.exempt {
            writeln!(f, "    exempt, {reason}: {}", told.count)?;
            for line in &told.words {
                writeln!(f, "        {line}")?;
            }
        }
        for (reason, count) in &self.not_owed {
            writeln!(f, "    not owed, {reason}: {count}")?;
        }
        for (name, times) in &self.times {
            let mut times = times.clone();
            times.sort_unstable();
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
            let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
            writeln!(
                f,
                "{name:<34}p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms, {} times",
                times.len()
            )?;
        }
        for (kind, Told { count, words }) in &self.violations {
            writeln!(f, "VIOLATED, {kind}: {count}")?;
            for line in words {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}
