//! Settings that are lists of tables, such as `[[rewrite]]`: in the file only, for they have no text of their own.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use toml::Spanned;
use toml::de::{DeValue, Error, ValueDeserializer};

use super::Config;

/// An array of tables of the file, and the field it fills.
pub(super) struct List {
    /// Its name, in double brackets.
    pub(super) name: &'static str,
    /// Names of the keys that one table may have.
    pub(super) keys: fn() -> &'static [&'static str],
    /// What the field has, as a text that differs where it does.
    pub(super) show: fn(&Config) -> String,
    /// Adds what one table says.
    pub(super) read: fn(&mut Config, Spanned<DeValue<'_>>) -> Result<(), Error>,
}

/// All of them.
pub(super) const LISTS: &[List] = &[
    List {
        name: "rewrite",
        keys: keys_of::<crate::broker::RewriteRule>,
        show: |config| format!("{:?}", config.extras.rewrite),
        read: |config, table| push(&mut config.extras.rewrite, table),
    },
    List {
        name: "auto_subscribe",
        keys: keys_of::<crate::broker::AutoSubscription>,
        show: |config| format!("{:?}", config.extras.auto_subscribe),
        read: |config, table| push(&mut config.extras.auto_subscribe, table),
    },
    List {
        name: "bridge",
        keys: keys_of::<crate::bridge::BridgeConfig>,
        show: |config| format!("{:?}", config.bridge),
        read: |config, table| push(&mut config.bridge, table),
    },
];

fn push<T: DeserializeOwned>(list: &mut Vec<T>, table: Spanned<DeValue<'_>>) -> Result<(), Error> {
    list.push(T::deserialize(ValueDeserializer::from(table))?);
    Ok(())
}

/// The keys that a type is made of, as its own code for reading it states them.
fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(Asking) {
        Err(Keys(keys)) => keys,
        Ok(_) => &[],
    }
}

/// Has no value, and gives back what it is asked for.
struct Asking;

#[derive(Debug)]
struct Keys(&'static [&'static str]);

impl<'de> Deserializer<'de> for Asking {
    type Error = Keys;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Keys> {
        Err(Keys(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Keys> {
        Err(Keys(keys))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl std::fmt::Display for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Keys {}

impl serde::de::Error for Keys {
    fn custom<T: std::fmt::Display>(_: T) -> Keys {
        Keys(&[])
    }
}
