//! The elements of stamped sets: what a value looks like that knows when it was written, and by whom.
//!
//! ```text
//! stamp 8, big endian | flags 1 | if flags & 2: length of the writer's name 1, the name, its incarnation 8 | value
//! ```
//!
//! With flags & 1 it is a tombstone: the key has been cleared, and what follows is no value but a remark. The writer is stated where it is not the
//! owner of the lane: its own lane was dropped, and somebody took over what was in it.

use std::fmt;

use crate::element::Element;
use crate::replica::{Incarnation, NodeName, ReplicaId};
use crate::stamp::Stamp;

const TOMBSTONE: u8 = 1;
const WRITER: u8 = 2;

/// One version of a key in a stamped set. Cheap to clone: the bytes are shared with the lane.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    element: Element,
    stamp: Stamp,
    /// Where the value begins behind the key, or a tombstone's remark.
    body_at: u32,
    is_tombstone: bool,
}

impl Entry {
    /// An entry that is in no set, or not yet: a value, or `None` for a tombstone.
    pub fn new(key: &[u8], value: Option<&[u8]>, stamp: Stamp) -> Entry {
        let element = Entry::write(key, value, stamp, None);
        let head = element.value().len() - value.map_or(0, <[u8]>::len);
        Entry { element, stamp, body_at: head as u32, is_tombstone: value.is_none() }
    }

    /// The element that says so.
    pub(crate) fn write(
        key: &[u8],
        value: Option<&[u8]>,
        stamp: Stamp,
        writer: Option<&ReplicaId>,
    ) -> Element {
        let flags = if value.is_none() { TOMBSTONE } else { 0 };
        Entry::write_parts(key, flags, value.unwrap_or_default(), stamp, writer)
    }

    /// A tombstone that says something.
    pub(crate) fn write_tombstone(
        key: &[u8],
        remark: &[u8],
        stamp: Stamp,
        writer: Option<&ReplicaId>,
    ) -> Element {
        Entry::write_parts(key, TOMBSTONE, remark, stamp, writer)
    }

    /// The same in the lane of somebody else than its writer.
    pub(crate) fn adopted(&self, writer: &ReplicaId) -> Element {
        let flags = if self.is_tombstone { TOMBSTONE } else { 0 };
        Entry::write_parts(self.key(), flags, self.body(), self.stamp, Some(writer))
    }

    fn write_parts(key: &[u8], flags: u8, body: &[u8], stamp: Stamp, writer: Option<&ReplicaId>) -> Element {
        let mut head = Vec::with_capacity(9);
        head.extend(stamp.0.to_be_bytes());
        head.push(flags | if writer.is_some() { WRITER } else { 0 });
        if let Some(writer) = writer {
            let name = writer.name.as_str();
            // Names have at most 255 bytes.
            head.push(name.len() as u8);
            head.extend(name.as_bytes());
            head.extend(writer.incarnation.0.to_be_bytes());
        }
        Element::of_parts(key, &head, body)
    }

    /// Reads an element; `None` if it is not of that form, as a peer could send.
    pub(crate) fn read(element: &Element) -> Option<Entry> {
        let header = Header::read(element)?;
        let Header { stamp, is_tombstone, len, .. } = header;
        Some(Entry { element: element.clone(), stamp, body_at: len, is_tombstone })
    }

    /// What it is a version of.
    pub fn key(&self) -> &[u8] {
        self.element.key()
    }

    /// The value; `None` if the key was cleared.
    pub fn value(&self) -> Option<&[u8]> {
        if self.is_tombstone { None } else { Some(self.body()) }
    }

    /// What a tombstone says beside that the key was cleared; nothing if there is a value.
    pub fn remark(&self) -> &[u8] {
        if self.is_tombstone { self.body() } else { &[] }
    }

    fn body(&self) -> &[u8] {
        &self.element.value()[self.body_at as usize..]
    }

    /// When it was written.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}=", self.key().escape_ascii(), self.stamp.0)?;
        match self.value() {
            Some(value) => write!(f, "{}", value.escape_ascii()),
            None => f.write_str("cleared"),
        }
    }
}

/// What an element says in front of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub stamp: Stamp,
    pub is_tombstone: bool,
    /// Name and incarnation of the writer, if it is not the lane's owner.
    pub writer: Option<(&'a str, Incarnation)>,
    /// Its length in bytes.
    len: u32,
}

impl<'a> Header<'a> {
    pub fn read(element: &'a Element) -> Option<Header<'a>> {
        let all = element.value();
        let (stamp, rest) = all.split_first_chunk::<8>()?;
        let (flags, mut rest) = rest.split_first()?;
        let mut writer = None;
        if flags & WRITER != 0 {
            let (name_len, more) = rest.split_first()?;
            let (name, more) = more.split_at_checked(usize::from(*name_len))?;
            let (incarnation, more) = more.split_first_chunk::<8>()?;
            writer = Some((std::str::from_utf8(name).ok()?, Incarnation(u64::from_be_bytes(*incarnation))));
            rest = more;
        }
        let stamp = Stamp(u64::from_be_bytes(*stamp));
        let is_tombstone = flags & TOMBSTONE != 0;
        // At most 9 + 1 + 255 + 8.
        Some(Header { stamp, is_tombstone, writer, len: (all.len() - rest.len()) as u32 })
    }

    /// Who wrote it, in the lane of `owner`. A name that is none, which only a faulty peer sends, speaks for the owner.
    pub fn writer(&self, owner: &ReplicaId) -> ReplicaId {
        let stated = self.writer.and_then(|(name, incarnation)| {
            Some(ReplicaId { name: NodeName::parse(name).ok()?, incarnation })
        });
        stated.unwrap_or_else(|| owner.clone())
    }
}
