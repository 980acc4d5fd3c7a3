//! Where values come from, and which of several counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::file::ConfigFile;
use super::{Config, ConfigError, ConfigErrors, Cookie, Origin, Place, SETTINGS, Setting};

/// What was given: flags, environment and a file. The first in this order that has a setting decides it.
pub struct Sources<'a> {
    /// Values of flags by the name of the setting.
    pub flags: &'a BTreeMap<&'static str, String>,
    /// Looks up an environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The TOML file, if one is given.
    pub file: Option<&'a Path>,
}

/// What became of all sources together.
pub struct Resolution {
    /// The configuration, with the default of whatever is wrong.
    pub config: Config,
    /// Where each setting that was given, and could be read, comes from, and the text that was given.
    pub given: BTreeMap<&'static str, (Origin, String)>,
    /// The tables of the file's lists, by the names of the lists, in order.
    pub lists: Vec<(&'static str, Place)>,
    /// All that is wrong; empty if the configuration can be used.
    pub errors: Vec<ConfigError>,
}

impl Resolution {
    /// Where a setting comes from.
    pub fn origin(&self, setting: &Setting) -> Origin {
        let default = || Origin::Default { key: setting.key() };
        self.given.get(setting.name).map_or_else(default, |(origin, _)| origin.clone())
    }

    /// The configuration; else all that is wrong with it.
    pub fn into_result(self) -> Result<Config, ConfigErrors> {
        if self.errors.is_empty() { Ok(self.config) } else { Err(ConfigErrors(self.errors)) }
    }

    /// Says where what is wrong was said.
    fn blame(&self, error: ConfigError) -> ConfigError {
        let settings = error.settings();
        let setting = settings.first().and_then(|name| SETTINGS.iter().find(|it| it.name == *name));
        let Some(setting) = setting else { return error };
        match (self.origin(setting), error) {
            (origin, ConfigError::Value { reason, .. }) => ConfigError::Value { origin, reason },
            (Origin::File { place, .. }, error) => ConfigError::InFile { place, error: Box::new(error) },
            (_, error) => error,
        }
    }
}

impl Sources<'_> {
    /// The environment variable that names a configuration file.
    pub const FILE_VARIABLE: &'static str = "RUMORMQ_CONFIG";
    /// The environment variable that has the cookie. It is no setting, and no flag: it must not be given where other users of the
    /// machine can read it.
    pub const COOKIE_VARIABLE: &'static str = "RUMORMQ_COOKIE";

    /// The configuration that the sources give, validated; else all that is wrong with it.
    pub fn resolve(&self) -> Result<Config, ConfigErrors> {
        self.explain().into_result()
    }

    /// What the sources give, and where each value comes from.
    pub fn explain(&self) -> Resolution {
        let named = (self.environment)(Sources::FILE_VARIABLE).map(PathBuf::from);
        let mut config = Config::default();
        let file = match self.file.or(named.as_deref()) {
            Some(path) => ConfigFile::read(path, &mut config),
            None => ConfigFile::default(),
        };
        let (mut given, mut errors, mut unreadable) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        for setting in SETTINGS {
            let Some((origin, text)) = self.value(setting, &file) else { continue };
            // A file can list what it does not set. Elsewhere an empty text is an accident: a variable that was not set.
            let is_blank = text.is_empty() && matches!(origin, Origin::File { .. });
            if is_blank && setting.show(&Config::default()).is_empty() {
                continue;
            }
            match setting.set(&mut config, &text) {
                Ok(()) => {
                    given.insert(setting.name, (origin, text));
                }
                Err(reason) => {
                    unreadable.insert(setting.name);
                    errors.push(ConfigError::Value { origin, reason });
                }
            }
        }
        if let Err(error) = self.take_cookie(&mut config) {
            unreadable.insert("cookie_file");
            errors.push(error);
        }
        let ConfigFile { lists, errors: of_file, .. } = file;
        // A file that could not be read says nothing, also of what would have made the rest right.
        let is_readable = !of_file
            .iter()
            .any(|error| matches!(error, ConfigError::Unreadable { .. } | ConfigError::NotToml { .. }));
        let mut resolution = Resolution { config, given, lists, errors: of_file };
        resolution.errors.append(&mut errors);
        if is_readable {
            let mistakes = resolution.config.mistakes();
            let follows = |error: &ConfigError| error.settings().iter().any(|name| unreadable.contains(name));
            let blamed = mistakes.into_iter().filter(|error| !follows(error));
            let blamed: Vec<ConfigError> = blamed.map(|error| resolution.blame(error)).collect();
            resolution.errors.extend(blamed);
        }
        resolution
    }

    /// Of these names of environment variables those that nobody reads and that look like a setting's, each with the one that was
    /// meant. Others that begin alike are not this program's business: container platforms make up some.
    pub fn misspelled(names: impl Iterator<Item = String>) -> Vec<(String, String)> {
        let known: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
        let others = [Sources::FILE_VARIABLE, Sources::COOKIE_VARIABLE];
        let is_read = |name: &str| others.contains(&name) || known.iter().any(|known| known == name);
        let meant = |name: &str| {
            let rest = name.strip_prefix("RUMORMQ_")?;
            let all = known.iter().map(String::as_str).chain(others);
            let alike = |known: &&str| strsim::damerau_levenshtein(rest, &known["RUMORMQ_".len()..]);
            // A letter or two, but never most of a short name.
            all.min_by_key(alike).filter(|known| alike(known) <= (rest.len() / 4).clamp(1, 2))
        };
        let strays = names.filter(|name| !is_read(name));
        strays.filter_map(|name| meant(&name).map(str::to_owned).map(|meant| (name, meant))).collect()
    }

    fn take_cookie(&self, config: &mut Config) -> Result<(), ConfigError> {
        let Some(cookie) = (self.environment)(Sources::COOKIE_VARIABLE) else { return Ok(()) };
        if !config.cookies.is_empty() {
            return Err(ConfigError::TwoCookies);
        }
        config.cookies = Cookie::parse_file(cookie.as_bytes()).map_err(|error| ConfigError::Value {
            origin: Origin::Environment(Sources::COOKIE_VARIABLE.to_owned()),
            reason: error.to_string(),
        })?;
        Ok(())
    }

    fn value(&self, setting: &Setting, file: &ConfigFile) -> Option<(Origin, String)> {
        let flag = || {
            let value = self.flags.get(setting.name)?;
            Some((Origin::Flag(setting.flag()), value.clone()))
        };
        let environment = || {
            let value = (self.environment)(&setting.variable())?;
            Some((Origin::Environment(setting.variable()), value))
        };
        flag().or_else(environment).or_else(|| file.value(setting))
    }
}
