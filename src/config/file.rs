//! The TOML file: settings under their sections.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::list::{LISTS, List};
use super::{Config, ConfigError, Origin, SETTINGS, Section, Setting};

/// The values of a configuration file, each as the text that a flag would have, and the tables of its lists.
#[derive(Default)]
pub(super) struct ConfigFile {
    path: PathBuf,
    values: BTreeMap<&'static str, String>,
    lists: Vec<(&'static List, Vec<Value>)>,
}

impl ConfigFile {
    /// Reads and parses the file.
    pub(super) fn read(path: &Path) -> Result<ConfigFile, ConfigError> {
        let content = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        ConfigFile::parse(path, &content)
    }

    /// Parses what the file at `path` contains.
    pub(super) fn parse(path: &Path, content: &str) -> Result<ConfigFile, ConfigError> {
        let table: Table = content
            .parse()
            .map_err(|error| ConfigError::NotToml { path: path.to_owned(), error: Box::new(error) })?;
        let mut file = ConfigFile { path: path.to_owned(), ..ConfigFile::default() };
        for (key, value) in &table {
            match (value, Section::named(key)) {
                (Value::Table(table), Some(section)) => {
                    for (key, value) in table {
                        file.insert(section, key, value)?;
                    }
                }
                (Value::Array(tables), _) if tables.first().is_some_and(Value::is_table) => {
                    file.insert_list(key, tables)?;
                }
                (Value::Table(_), None) => return Err(file.unknown_section(key)),
                (value, _) => file.insert(Section::Top, key, value)?,
            }
        }
        Ok(file)
    }

    /// The value of a setting and where it stands, if it is given.
    pub(super) fn value(&self, setting: &Setting) -> Option<(Origin, String)> {
        self.values.get(setting.name).map(|value| (self.origin(setting), value.clone()))
    }

    /// Adds the tables of the lists to what the configuration has.
    pub(super) fn read_lists(&self, config: &mut Config) -> Result<(), ConfigError> {
        for (list, tables) in &self.lists {
            for (table, number) in tables.iter().zip(1..) {
                list.read(config, table).map_err(|reason| {
                    let key = format!("[[{}]] number {number}", list.name);
                    ConfigError::Value { origin: Origin::File { path: self.path.clone(), key }, reason }
                })?;
            }
        }
        Ok(())
    }

    fn insert_list(&mut self, name: &str, tables: &[Value]) -> Result<(), ConfigError> {
        let Some(list) = LISTS.iter().find(|list| list.name == name) else {
            return Err(self.unknown_section(name));
        };
        let keys = (list.keys)();
        let given = tables.iter().filter_map(Value::as_table).flat_map(Table::keys);
        if let Some(unknown) = given.into_iter().find(|key| !keys.contains(&key.as_str())) {
            let nearest = keys.iter().max_by_key(|known| similarity(unknown, known)).unwrap_or(&"");
            return Err(ConfigError::UnknownKey {
                path: self.path.clone(),
                key: format!("[[{name}]] {unknown}"),
                nearest: format!("[[{name}]] {nearest}"),
            });
        }
        self.lists.push((list, tables.to_vec()));
        Ok(())
    }

    fn insert(&mut self, section: Section, key: &str, value: &Value) -> Result<(), ConfigError> {
        let given = section.key(key);
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == key) else {
            return Err(self.unknown_key(key, given));
        };
        if setting.section != section {
            let place = match setting.section {
                Section::Top => "at the top of the file, above all sections".to_owned(),
                section => format!("in section [{}]", section.name()),
            };
            return Err(ConfigError::WrongSection { path: self.path.clone(), key: given, place });
        }
        let text = text_of(value).ok_or_else(|| ConfigError::Value {
            origin: self.origin(setting),
            reason: "a text, a number, true or false is expected, or a list of texts".to_owned(),
        })?;
        self.values.insert(setting.name, text);
        Ok(())
    }

    fn origin(&self, setting: &Setting) -> Origin {
        Origin::File { path: self.path.clone(), key: setting.key() }
    }

    fn unknown_key(&self, name: &str, key: String) -> ConfigError {
        let nearest = SETTINGS.iter().max_by_key(|setting| similarity(name, setting.name));
        let nearest = nearest.map(Setting::key).unwrap_or_default();
        ConfigError::UnknownKey { path: self.path.clone(), key, nearest }
    }

    fn unknown_section(&self, name: &str) -> ConfigError {
        let sections =
            Section::TABLES.iter().map(|section| (section.name(), format!("[{}]", section.name())));
        let lists = LISTS.iter().map(|list| (list.name, format!("[[{}]]", list.name)));
        let nearest = sections.chain(lists).max_by_key(|(known, _)| similarity(name, known));
        ConfigError::UnknownSection {
            path: self.path.clone(),
            name: name.to_owned(),
            nearest: nearest.map(|(_, nearest)| nearest).unwrap_or_default(),
        }
    }
}

/// Millionths.
fn similarity(given: &str, known: &str) -> u32 {
    (strsim::jaro_winkler(given, known) * 1e6) as u32
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(text_of).collect();
            Some(texts?.join(","))
        }
        Value::Table(_) | Value::Datetime(_) => None,
    }
}
