//! The TOML file: settings under their sections.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::list::{LISTS, List};
use super::{Config, ConfigError, Origin, Place, SETTINGS, Section, Setting};

/// The values of a configuration file, each as the text that a flag would have.
#[derive(Default)]
pub(super) struct ConfigFile {
    values: BTreeMap<&'static str, (Place, String)>,
    /// The tables of lists, by the list's name.
    pub(super) lists: Vec<(&'static str, Place)>,
    /// All that is wrong with it.
    pub(super) errors: Vec<ConfigError>,
}

impl ConfigFile {
    /// Reads and parses the file. What it has of lists is added to those of `config`.
    pub(super) fn read(path: &Path, config: &mut Config) -> ConfigFile {
        match std::fs::read_to_string(path) {
            Ok(content) => Parser { path, content: &content, file: ConfigFile::default(), config }.parse(),
            Err(error) => {
                let unreadable = ConfigError::Unreadable { path: path.to_owned(), error };
                ConfigFile { errors: vec![unreadable], ..ConfigFile::default() }
            }
        }
    }

    /// The value of a setting and where it stands, if it is given.
    pub(super) fn value(&self, setting: &Setting) -> Option<(Origin, String)> {
        let (place, value) = self.values.get(setting.name)?;
        Some((Origin::File { place: place.clone(), key: setting.key() }, value.clone()))
    }
}

/// A walk through what the file at `path` contains.
struct Parser<'a> {
    path: &'a Path,
    content: &'a str,
    file: ConfigFile,
    config: &'a mut Config,
}

type Key<'a> = Spanned<DeString<'a>>;
type Element<'a> = Spanned<DeValue<'a>>;

impl Parser<'_> {
    fn parse(mut self) -> ConfigFile {
        let (table, errors) = DeTable::parse_recoverable(self.content);
        // What was guessed beyond an error would only bring more of them.
        if !errors.is_empty() {
            for error in errors {
                let place = self.place(error.span().unwrap_or_default());
                self.file.errors.push(ConfigError::NotToml { place, reason: one_line(error.message()) });
            }
            return self.file;
        }
        let mut entries: Vec<(Key<'_>, Element<'_>)> = table.into_inner().into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            self.read_entry(&key, value);
        }
        self.file
    }

    fn read_entry(&mut self, key: &Key<'_>, value: Element<'_>) {
        let name = key.get_ref().as_ref();
        let is_list =
            value.get_ref().as_array().is_some_and(|all| all.iter().any(|it| it.get_ref().is_table()));
        match (value.get_ref().as_table(), Section::named(name)) {
            (Some(table), Some(section)) => {
                for (key, value) in in_order(table) {
                    self.read_setting(section, key, value);
                }
            }
            (Some(_), None) => self.unknown_section(key),
            (None, _) if is_list => self.read_list(key, value),
            (None, _) => self.read_setting(Section::Top, key, &value),
        }
    }

    fn read_list(&mut self, key: &Key<'_>, value: Element<'_>) {
        let Some(list) = LISTS.iter().find(|list| *list.name == **key.get_ref()) else {
            return self.unknown_section(key);
        };
        let DeValue::Array(tables) = value.into_inner() else { return };
        for (number, table) in (1..).zip(tables) {
            let unknown = self.unknown_keys(list, &table);
            if !unknown.is_empty() {
                self.file.errors.extend(unknown);
                continue;
            }
            let place = self.place(table.span());
            match (list.read)(self.config, table) {
                Ok(()) => self.file.lists.push((list.name, place)),
                Err(error) => {
                    let place = error.span().map_or(place, |span| self.place(span));
                    let origin = Origin::File { place, key: format!("[[{}]] number {number}", list.name) };
                    let reason = one_line(error.message());
                    self.file.errors.push(ConfigError::Value { origin, reason });
                }
            }
        }
    }

    fn unknown_keys(&self, list: &List, table: &Element<'_>) -> Vec<ConfigError> {
        let known = (list.keys)();
        let Some(table) = table.get_ref().as_table() else { return Vec::new() };
        let unknown = in_order(table).into_iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref()));
        let blame = |(key, _): (&Key<'_>, _)| {
            let nearest = known.iter().max_by_key(|known| similarity(key.get_ref(), known)).unwrap_or(&"");
            ConfigError::UnknownKey {
                place: self.place(key.span()),
                key: format!("[[{}]] {}", list.name, key.get_ref()),
                nearest: format!("[[{}]] {nearest}", list.name),
            }
        };
        unknown.map(blame).collect()
    }

    fn read_setting(&mut self, section: Section, key: &Key<'_>, value: &Element<'_>) {
        let (name, place) = (key.get_ref().as_ref(), self.place(key.span()));
        let given = section.key(name);
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            let nearest = SETTINGS.iter().max_by_key(|setting| similarity(name, setting.name));
            let nearest = nearest.map(Setting::key).unwrap_or_default();
            return self.file.errors.push(ConfigError::UnknownKey { place, key: given, nearest });
        };
        if setting.section != section {
            let home = match setting.section {
                Section::Top => "at the top of the file, above all sections".to_owned(),
                section => format!("in section [{}]", section.name()),
            };
            return self.file.errors.push(ConfigError::WrongSection { place, key: given, home });
        }
        let place = self.place(value.span());
        match text_of(value) {
            Some(text) => {
                self.file.values.insert(setting.name, (place, text));
            }
            None => self.file.errors.push(ConfigError::Value {
                origin: Origin::File { place, key: setting.key() },
                reason: "a text, a number, true or false is expected, or a list of texts".to_owned(),
            }),
        }
    }

    fn unknown_section(&mut self, key: &Key<'_>) {
        let name = key.get_ref().as_ref();
        let sections =
            Section::TABLES.iter().map(|section| (section.name(), format!("[{}]", section.name())));
        let lists = LISTS.iter().map(|list| (list.name, format!("[[{}]]", list.name)));
        let nearest = sections.chain(lists).max_by_key(|(known, _)| similarity(name, known));
        self.file.errors.push(ConfigError::UnknownSection {
            place: self.place(key.span()),
            name: name.to_owned(),
            nearest: nearest.map(|(_, nearest)| nearest).unwrap_or_default(),
        });
    }

    fn place(&self, span: Range<usize>) -> Place {
        let before = self.content.get(..span.start).unwrap_or(self.content);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Place {
            path: PathBuf::from(self.path),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }
}

/// As they stand in the file: a table is sorted by its keys.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Key<'i>, &'a Element<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn one_line(message: &str) -> String {
    message.trim().replace('\n', "; ")
}

/// Millionths.
fn similarity(given: &str, known: &str) -> u32 {
    (strsim::jaro_winkler(given, known) * 1e6) as u32
}

fn text_of(value: &Element<'_>) -> Option<String> {
    fn text(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Boolean(truth) => Some(truth.to_string()),
            Value::Array(values) => {
                let texts: Option<Vec<String>> = values.iter().map(text).collect();
                Some(texts?.join(","))
            }
            Value::Table(_) | Value::Datetime(_) => None,
        }
    }
    text(&Value::deserialize(ValueDeserializer::from(value.clone())).ok()?)
}
