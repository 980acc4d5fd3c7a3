//! Topic aliases that we set on a connection, where its client takes them and they save bytes (3.3.2.3.4).
//!
//! Each alias is a slot, and each topic has one slot by its hash. A topic that finds its slot taken gets it when it comes
//! a second time without the holder in between, so that a stream of topics that come once displaces nobody.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::num::NonZeroU16;

use crate::topic::Topic;

/// Most aliases used on a connection, however many the client takes.
pub const ALIASES_MAX: u16 = 64;
/// Longer topics are written out: what is kept for a connection has a bound.
pub const TOPIC_LEN_MAX: usize = 512;
/// An alias takes three bytes in a packet, so shorter topics save nothing.
const TOPIC_LEN_MIN: usize = 4;

/// Topic to alias, for one connection [MQTT-3.3.2-7].
#[derive(Debug)]
pub struct OutboundAliases {
    /// Alias n is slot n - 1; made with the first message.
    slots: Vec<Slot>,
    maximum: u16,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    topic: Box<str>,
    /// The hash of the topic that wants the slot, and has come since the holder last did.
    candidate: Option<u64>,
}

/// How a packet names its topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// By its name.
    #[default]
    Name,
    /// By its name, for which the alias stands from then on.
    Set(NonZeroU16),
    /// By the alias alone.
    Alias(NonZeroU16),
}

impl OutboundAliases {
    /// For a client with this Topic Alias Maximum; none where it takes no aliases [MQTT-3.1.2-27].
    pub fn new(topic_alias_maximum: u16) -> Option<Box<OutboundAliases>> {
        let maximum = topic_alias_maximum.min(ALIASES_MAX); // [MQTT-3.1.2-26]
        (maximum > 0).then(|| Box::new(OutboundAliases { slots: Vec::new(), maximum }))
    }

    /// Calls `append` for a packet of this topic with the way to name it; again where the packet was too large, and is
    /// not without an alias. `hash` is [`hash`] of the topic.
    pub fn append<E>(
        &mut self,
        topic: Topic<'_>,
        hash: u64,
        mut append: impl FnMut(Naming) -> Result<(), E>,
    ) -> Result<(), E> {
        let naming = self.naming(topic.as_str(), hash);
        let Naming::Set(alias) = naming else { return append(naming) };
        match append(naming) {
            // Only now does the client know of it.
            Ok(()) => self.slots[usize::from(alias.get()) - 1].topic = topic.as_str().into(),
            Err(_) => append(Naming::Name)?,
        }
        Ok(())
    }

    /// The aliases that are set, with their topics.
    pub fn topics(&self) -> HashMap<u16, Box<str>> {
        let set = (1..).zip(&self.slots).filter(|(_, slot)| !slot.topic.is_empty());
        set.map(|(alias, slot)| (alias, slot.topic.clone())).collect()
    }

    fn naming(&mut self, topic: &str, hash: u64) -> Naming {
        if !(TOPIC_LEN_MIN..=TOPIC_LEN_MAX).contains(&topic.len()) {
            return Naming::Name;
        }
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); self.maximum.into()];
        }
        let at = (hash % u64::from(self.maximum)) as u16;
        let slot = &mut self.slots[usize::from(at)];
        let alias = NonZeroU16::MIN.saturating_add(at);
        if *slot.topic == *topic {
            slot.candidate = None;
            return Naming::Alias(alias);
        }
        if slot.topic.is_empty() || slot.candidate == Some(hash) {
            slot.candidate = None;
            return Naming::Set(alias);
        }
        slot.candidate = Some(hash);
        Naming::Name
    }
}

/// What [`OutboundAliases::append`] wants to know of a topic. The same everywhere: topics made to collide save nothing,
/// and that is all they do.
pub fn hash(topic: Topic<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(topic.as_str().as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aliases(maximum: u16) -> Box<OutboundAliases> {
        OutboundAliases::new(maximum).expect("some aliases")
    }

    /// What packets of these topics say, one after the other; the capital letter's does not fit with an alias.
    fn namings(aliases: &mut OutboundAliases, topics: &[&str]) -> Vec<Naming> {
        let said = topics.iter().map(|text| {
            let topic = Topic::new(text).expect("a topic");
            let mut last = Naming::Name;
            let result = aliases.append(topic, hash(topic), |naming| {
                last = naming;
                let fits = !text.starts_with("LARGE") || !matches!(naming, Naming::Set(_));
                if fits { Ok(()) } else { Err(()) }
            });
            assert_eq!(result, Ok(()));
            last
        });
        said.collect()
    }

    const ONE: NonZeroU16 = NonZeroU16::MIN;

    #[test]
    fn a_topic_is_named_once() {
        use Naming::{Alias, Set};
        assert_eq!(
            namings(&mut aliases(1), &["topic", "topic", "topic"]),
            [Set(ONE), Alias(ONE), Alias(ONE)]
        );
    }

    #[test]
    fn a_slot_is_taken_by_a_topic_that_comes_twice_in_a_row() {
        use Naming::{Alias, Name, Set};
        let mut aliases = aliases(1);
        let once = namings(&mut aliases, &["topic", "passing", "other", "topic", "passing", "topic"]);
        assert_eq!(once, [Set(ONE), Name, Name, Alias(ONE), Name, Alias(ONE)]);
        assert_eq!(namings(&mut aliases, &["other", "other", "topic"]), [Name, Set(ONE), Name]);
    }

    #[test]
    fn what_does_not_fit_with_an_alias_is_sent_without_and_sets_none() {
        assert_eq!(namings(&mut aliases(1), &["LARGE", "LARGE"]), [Naming::Name, Naming::Name]);
    }

    #[test]
    fn short_and_very_long_topics_are_written_out() {
        let long = "x".repeat(TOPIC_LEN_MAX + 1);
        assert_eq!(namings(&mut aliases(9), &["a/b", "a/b", &long, &long]), [Naming::Name; 4]);
    }

    /// [MQTT-3.1.2-26], [MQTT-3.1.2-27].
    #[test]
    fn no_alias_is_above_the_maximum() {
        assert!(OutboundAliases::new(0).is_none());
        for (asked, highest) in [(1, 1), (5, 5), (ALIASES_MAX, ALIASES_MAX), (u16::MAX, ALIASES_MAX)] {
            let mut aliases = aliases(asked);
            let mut seen = 0;
            for n in 0..10_000 {
                match namings(&mut aliases, &[&format!("topic/{n}")])[0] {
                    Naming::Set(alias) | Naming::Alias(alias) => seen = seen.max(alias.get()),
                    Naming::Name => {}
                }
            }
            assert_eq!(seen, highest);
        }
    }
}
