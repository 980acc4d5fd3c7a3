//! What differs between two configurations, and when each difference counts.

use std::fmt;

use super::list::LISTS;
use super::{Config, SETTINGS, Section, Setting};

/// When a changed setting counts on a node that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// As soon as it is read.
    Now,
    /// For connections of clients or nodes that open from then on; those that are open keep what they have.
    NewConnections,
    /// When the node is started again.
    Restart,
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key with its section.
    pub key: String,
    /// Its value before and after; none where it is what a file contains, or a list.
    pub values: Option<(String, String)>,
    /// When it counts.
    pub counts: Counts,
}

impl Setting {
    /// When a change of it counts.
    pub fn counts(&self) -> Counts {
        match (self.section, self.name) {
            (_, "log_level" | "acl_file" | "http_token_file" | "http_read_token_file") => Counts::Now,
            (_, "slow_subscriber_threshold") => Counts::Now,
            (Section::Tls | Section::Access, _) | (_, "allow_anonymous" | "cookie_file") => {
                Counts::NewConnections
            }
            (Section::Cluster, name) if name.starts_with("cluster_tls_") => Counts::NewConnections,
            // Sized once.
            (_, "max_connecting_bytes" | "max_delayed_messages" | "max_delayed_bytes") => Counts::Restart,
            (_, "sys_interval" | "exclusive_subscriptions") => Counts::Restart,
            (Section::Limits | Section::Broker, _) => Counts::NewConnections,
            _ => Counts::Restart,
        }
    }
}

impl Config {
    /// How `new` differs from this one.
    pub fn changes(&self, new: &Config) -> Vec<Change> {
        let settings = SETTINGS.iter().filter(|setting| !setting.is_same(self, new)).map(|setting| {
            let values = (setting.show(self), setting.show(new));
            Change {
                key: setting.key(),
                values: (values.0 != values.1).then_some(values),
                counts: setting.counts(),
            }
        });
        let lists = LISTS.iter().filter(|list| (list.show)(self) != (list.show)(new)).map(|list| Change {
            key: format!("[[{}]]", list.name),
            values: None,
            counts: Counts::Restart,
        });
        settings.chain(lists).collect()
    }

    /// This configuration with everything of `new` that can count without a restart.
    pub fn adopting(&self, new: &Config) -> Config {
        let mut adopting = self.clone();
        for setting in SETTINGS.iter().filter(|setting| setting.counts() != Counts::Restart) {
            setting.copy(new, &mut adopting);
        }
        adopting
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: &str| if value.is_empty() { "nothing".to_owned() } else { value.to_owned() };
        match &self.values {
            Some((before, after)) => write!(f, "{}: {} instead of {}", self.key, word(after), word(before)),
            None => write!(f, "{}: what it says has changed", self.key),
        }
    }
}
