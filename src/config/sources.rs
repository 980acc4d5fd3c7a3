//! Where values come from, and which of several counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file::ConfigFile;
use super::{Config, ConfigError, Cookie, Origin, SETTINGS, Setting};

/// What was given: flags, environment and a file. The first in this order that has a setting decides it.
pub struct Sources<'a> {
    /// Values of flags by the name of the setting.
    pub flags: &'a BTreeMap<&'static str, String>,
    /// Looks up an environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The TOML file, if one is given.
    pub file: Option<&'a Path>,
}

/// The cookie itself is no setting: it must not be given where other users of the machine can read it.
const COOKIE_VARIABLE: &str = "RUMORMQ_COOKIE";

impl Sources<'_> {
    /// The environment variable that names a configuration file.
    pub const FILE_VARIABLE: &'static str = "RUMORMQ_CONFIG";

    /// The configuration that the sources give, validated.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let named = (self.environment)(Sources::FILE_VARIABLE).map(PathBuf::from);
        let file = match self.file.or(named.as_deref()) {
            Some(path) => ConfigFile::read(path)?,
            None => ConfigFile::default(),
        };
        let mut config = Config::default();
        for setting in SETTINGS {
            if let Some((origin, text)) = self.value(setting, &file) {
                setting.set(&mut config, &text).map_err(|reason| ConfigError::Value { origin, reason })?;
            }
        }
        file.read_lists(&mut config)?;
        if let Some(cookie) = (self.environment)(COOKIE_VARIABLE) {
            if !config.cookies.is_empty() {
                return Err(ConfigError::TwoCookies);
            }
            config.cookies = Cookie::parse_file(cookie.as_bytes()).map_err(|error| ConfigError::Value {
                origin: Origin::Environment(COOKIE_VARIABLE.to_owned()),
                reason: error.to_string(),
            })?;
        }
        config.validate()?;
        Ok(config)
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
