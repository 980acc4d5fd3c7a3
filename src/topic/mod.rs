//! Topic names and topic filters: parsed once, valid ever after.

/// A valid topic name: at least one character, no wildcard, no U+0000 [MQTT-4.7.1-1, MQTT-4.7.3-1, MQTT-4.7.3-2].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Topic<'a>(&'a str);

impl<'a> Topic<'a> {
    /// The name as text.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}
