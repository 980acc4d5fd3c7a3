//! Sets of dots as they travel: a gap-coded list for few, a compressed bitmap for many.

use roaring::RoaringTreemap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::element::Bytes;

/// Ascending dots, written as the distance of each to the one before: one or two bytes each, mostly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotList(Vec<u64>);

impl DotList {
    /// Sorts the dots and drops repetitions.
    pub fn new(mut dots: Vec<u64>) -> DotList {
        dots.sort_unstable();
        dots.dedup();
        DotList(dots)
    }

    /// The dots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }

    /// Number of dots.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no dot.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.0.last().copied()
    }

    /// Takes the dot at `index` out.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove(&mut self, index: usize) -> u64 {
        self.0.remove(index)
    }

    /// Length when written, in bytes.
    pub(crate) fn written_len(&self) -> usize {
        self.gaps().map(varint_len).sum()
    }

    fn gaps(&self) -> impl ExactSizeIterator<Item = u64> {
        let mut before = 0;
        self.0.iter().map(move |dot| dot - std::mem::replace(&mut before, *dot))
    }
}

fn varint_len(number: u64) -> usize {
    (64 - number.leading_zeros()).max(1).div_ceil(7) as usize
}

impl Serialize for DotList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.gaps())
    }
}

impl<'de> Deserialize<'de> for DotList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DotList, D::Error> {
        let mut dots = Vec::<u64>::deserialize(deserializer)?;
        let mut before = 0u64;
        for dot in &mut dots {
            before = before.checked_add(*dot).ok_or_else(|| D::Error::custom("dots overflow"))?;
            *dot = before;
        }
        Ok(DotList::new(dots))
    }
}

/// A compressed bit set of dots (Roaring bitmap).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DotBitmap(RoaringTreemap);

impl DotBitmap {
    /// Whether `dot` is in it.
    pub fn contains(&self, dot: u64) -> bool {
        self.0.contains(dot)
    }

    /// Number of dots.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there is no dot.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Collects ascending dots until a number of bytes is reached.
pub(crate) struct DotBitmapBuilder {
    dots: RoaringTreemap,
    container: Option<u64>,
    in_container: usize,
    full_containers_len: usize,
}

impl DotBitmapBuilder {
    /// Bytes that a container of up to 65,536 neighbouring dots takes beside its content.
    const CONTAINER_HEADER: usize = 20;
    /// A container never takes more: then it is a plain bit set.
    const CONTAINER_MAX: usize = 8192;

    pub fn new() -> DotBitmapBuilder {
        DotBitmapBuilder {
            dots: RoaringTreemap::new(),
            container: None,
            in_container: 0,
            full_containers_len: 0,
        }
    }

    /// Adds a dot, which must be above all before.
    pub fn push(&mut self, dot: u64) {
        if self.container != Some(dot >> 16) {
            self.full_containers_len = self.written_len();
            self.container = Some(dot >> 16);
            self.in_container = 0;
        }
        self.in_container += 1;
        self.dots.insert(dot);
    }

    /// The most that the bitmap takes when written, in bytes.
    pub fn written_len(&self) -> usize {
        let open = match self.container {
            None => 0,
            Some(_) => {
                DotBitmapBuilder::CONTAINER_HEADER
                    + (2 * self.in_container).min(DotBitmapBuilder::CONTAINER_MAX)
            }
        };
        self.full_containers_len + open
    }

    pub fn finish(mut self) -> DotBitmap {
        self.dots.optimize();
        DotBitmap(self.dots)
    }
}

impl Serialize for DotBitmap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.0.serialized_size());
        self.0.serialize_into(&mut bytes).map_err(serde::ser::Error::custom)?;
        Bytes(&bytes).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DotBitmap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DotBitmap, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        RoaringTreemap::deserialize_from(bytes).map(DotBitmap).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn list_and_bitmap_are_read_back_within_the_stated_length(
            dots in proptest::collection::btree_set(prop_oneof![0u64..100, 0u64..1_000_000, any::<u64>()], 0..300)
        ) {
            let list = DotList::new(dots.iter().copied().collect());
            let bytes = postcard::to_stdvec(&list).unwrap();
            prop_assert!(bytes.len() <= list.written_len() + 2);
            prop_assert_eq!(postcard::from_bytes::<DotList>(&bytes).unwrap(), list);

            let mut builder = DotBitmapBuilder::new();
            dots.iter().for_each(|dot| builder.push(*dot));
            let stated = builder.written_len();
            let bitmap = builder.finish();
            let bytes = postcard::to_stdvec(&bitmap).unwrap();
            prop_assert!(bytes.len() <= stated + 16, "{} bytes, stated {}", bytes.len(), stated);
            prop_assert_eq!(postcard::from_bytes::<DotBitmap>(&bytes).unwrap(), bitmap);
        }

        #[test]
        fn garbage_is_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = postcard::to_stdvec(&bytes.len()).unwrap();
            framed.extend(&bytes);
            let _ = postcard::from_bytes::<DotList>(&bytes);
            let _ = postcard::from_bytes::<DotBitmap>(&framed);
        }

        #[test]
        fn damaged_bitmaps_are_refused_or_read_without_panic(
            dots in proptest::collection::btree_set(0u64..400_000, 1..300), at: prop::sample::Index, byte: u8
        ) {
            let mut builder = DotBitmapBuilder::new();
            dots.iter().for_each(|dot| builder.push(*dot));
            let mut bytes = postcard::to_stdvec(&builder.finish()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(bitmap) = postcard::from_bytes::<DotBitmap>(&bytes) {
                dots.iter().for_each(|dot| { bitmap.contains(*dot); });
                let _ = bitmap.len();
            }
        }
    }
}
