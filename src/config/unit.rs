//! Numbers with units, as people write them: `500ms`, `2h`, `1MiB`.

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Things: a number alone.
    Count,
    /// Bytes: a number alone, or with a unit.
    Bytes,
    /// Milliseconds: always with a unit.
    Millis,
}

impl Unit {
    /// Its units with their factors, largest first.
    fn scale(self) -> &'static [(&'static str, u64)] {
        match self {
            Unit::Count => &[("", 1)],
            Unit::Bytes => &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)],
            Unit::Millis => &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)],
        }
    }

    /// How a value is written.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Unit::Count => "a whole number, such as 1000",
            Unit::Bytes => "a size, such as 65536, 64KiB or 1MiB",
            Unit::Millis => "a duration, such as 500ms, 10s, 5m, 2h or 7d",
        }
    }

    /// Reads a whole number and one unit.
    pub(super) fn parse(self, text: &str) -> Option<u64> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let (_, factor) = self.scale().iter().find(|(name, _)| *name == unit.trim_start())?;
        number.parse::<u64>().ok()?.checked_mul(*factor)
    }

    /// The shortest text that [`Unit::parse`] reads as `value`.
    pub(super) fn show(self, value: u64) -> String {
        let scale = self.scale();
        let exact = scale.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
        let (name, factor) = exact.unwrap_or(&scale[scale.len() - 1]);
        format!("{}{name}", value / factor)
    }
}

/// Reads a duration as settings have it.
pub(crate) fn duration(text: &str) -> Option<std::time::Duration> {
    Unit::Millis.parse(text).map(std::time::Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::Unit::{Bytes, Count, Millis};

    #[test]
    fn units_scale_numbers() {
        for (unit, text, value) in [
            (Count, "0", 0),
            (Count, "1000000", 1_000_000),
            (Bytes, "0", 0),
            (Bytes, "1000", 1000),
            (Bytes, "64KiB", 64 << 10),
            (Bytes, "3GiB", 3 << 30),
            (Millis, "0ms", 0),
            (Millis, "500ms", 500),
            (Millis, "90s", 90_000),
            (Millis, "2h", 7_200_000),
            (Millis, "7d", 604_800_000),
        ] {
            assert_eq!(unit.parse(text), Some(value), "{text}");
            assert_eq!(unit.show(value), text);
        }
        assert_eq!(Bytes.parse("1 MiB"), Some(1 << 20));
        assert_eq!(Millis.show(60_000), "1m");
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for (unit, text) in [
            (Count, ""),
            (Count, "-1"),
            (Count, "1k"),
            (Count, "1.5"),
            (Count, "18446744073709551616"),
            (Bytes, "1MB"),
            (Bytes, "1mib"),
            (Bytes, "MiB"),
            (Bytes, "99999999999GiB"),
            (Millis, "5"),
            (Millis, "5 sec"),
            (Millis, "1h30m"),
        ] {
            assert_eq!(unit.parse(text), None, "{text}");
        }
    }
}
