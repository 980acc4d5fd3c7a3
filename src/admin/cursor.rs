//! Where the next page begins.

/// The last filter of a page, written so that nobody is tempted to read it. It stays good whatever comes and goes between
/// two pages: the next page holds what is sorted behind it then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor(pub(super) String);

impl Cursor {
    pub(super) fn encode(&self) -> String {
        self.0.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn decode(text: &str) -> Option<Cursor> {
        let bytes = text.as_bytes().chunks(2).map(|digits| match digits {
            [high, low] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()
            }
            _ => None,
        });
        String::from_utf8(bytes.collect::<Option<_>>()?).ok().map(Cursor)
    }
}
