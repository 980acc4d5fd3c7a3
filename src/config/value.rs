//! How the types of the fields are read and shown.

use std::any::Any;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::{
    AdminToken, ClientCertificates, Cookie, ForwardOverflow, HostPort, LogFilter, LogFormat, NodeName,
};
use crate::access::acl::Acl;
use crate::access::password_file::PasswordFile;
use crate::broker::{ResponseTopic, ServerReference};
use crate::codec::packet::QoS;
use crate::net::PageOrigin;
use crate::router::Strategy;
use ipnet::IpNet;

/// A value that can be told from another one of its type, and replaced by it.
pub(super) trait Field: Any {
    fn is_same(&self, other: &dyn Field) -> bool;
    /// Of another type: stays as it is.
    fn copy(&mut self, other: &dyn Field);
}

impl<T: Any + Clone + PartialEq> Field for T {
    fn is_same(&self, other: &dyn Field) -> bool {
        (other as &dyn Any).downcast_ref::<T>() == Some(self)
    }

    fn copy(&mut self, other: &dyn Field) {
        if let Some(other) = (other as &dyn Any).downcast_ref::<T>() {
            self.clone_from(other);
        }
    }
}

/// A value that a text gives as a whole.
pub(super) trait Text: Field {
    /// Reads it; the error says what is wrong with the text.
    fn read(&mut self, text: &str) -> Result<(), String>;
    /// The text that would give it; empty where none does.
    fn show(&self) -> String;
}

/// A number that has a unit and a range.
pub(super) trait Number: Field {
    fn value(&self) -> u64;
    /// Sets it; a value beyond the type becomes the nearest it has.
    fn set(&mut self, value: u64);
}

fn parse<T: FromStr>(text: &str, expected: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not {expected}"))
}

impl Text for Strategy {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let named = Strategy::ALL.into_iter().find(|strategy| strategy.name() == text);
        *self = named.ok_or_else(|| {
            let names: Vec<&str> = Strategy::ALL.into_iter().map(Strategy::name).collect();
            format!("{text:?} is not one of {}", names.join(", "))
        })?;
        Ok(())
    }

    fn show(&self) -> String {
        self.name().to_owned()
    }
}

impl Text for ForwardOverflow {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let named = ForwardOverflow::ALL.into_iter().find(|policy| policy.name() == text);
        *self = named.ok_or_else(|| {
            let names = ForwardOverflow::ALL.map(ForwardOverflow::name);
            format!("{text:?} is not one of {}", names.join(", "))
        })?;
        Ok(())
    }

    fn show(&self) -> String {
        self.name().to_owned()
    }
}

impl Text for bool {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = parse(text, "true or false")?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Text for String {
    fn read(&mut self, text: &str) -> Result<(), String> {
        text.clone_into(self);
        Ok(())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Text for f64 {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = parse(text, "a number, such as 12")?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Text for SocketAddr {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = parse(text, "an address with a port, such as 127.0.0.1:1883, 0.0.0.0:1883 or [::]:1883")?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Text for Option<SocketAddr> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let mut address = SocketAddr::from(([0, 0, 0, 0], 0));
        address.read(text)?;
        *self = Some(address);
        Ok(())
    }

    fn show(&self) -> String {
        self.as_ref().map(Text::show).unwrap_or_default()
    }
}

impl Text for Option<PathBuf> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = Some(PathBuf::from(text));
        Ok(())
    }

    fn show(&self) -> String {
        self.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }
}

impl Text for ClientCertificates {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = parse(text, "required or optional")?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Text for LogFilter {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = text.parse().map_err(|error| format!("{text:?} is {error}"))?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Text for LogFormat {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = parse(text, "text or json")?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Text for Option<NodeName> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = Some(NodeName::parse(text).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn show(&self) -> String {
        self.as_ref().map(NodeName::to_string).unwrap_or_default()
    }
}

impl Text for Option<HostPort> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = Some(host_port(text)?);
        Ok(())
    }

    fn show(&self) -> String {
        self.as_ref().map(HostPort::to_string).unwrap_or_default()
    }
}

/// Separated by commas.
impl Text for Vec<HostPort> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let addresses = text.split(',').map(str::trim).filter(|address| !address.is_empty());
        *self = addresses.map(host_port).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self) -> String {
        self.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",")
    }
}

/// Separated by commas; an address is a network of one.
impl Text for Vec<IpNet> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let networks = text.split(',').map(str::trim).filter(|network| !network.is_empty());
        *self = networks.map(network).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self) -> String {
        self.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",")
    }
}

/// Separated by commas.
impl Text for Vec<PageOrigin> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        let origin = |text: &str| text.parse().map_err(|error| format!("{text:?} is {error}"));
        *self = origins.map(origin).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self) -> String {
        self.iter().map(PageOrigin::to_string).collect::<Vec<_>>().join(",")
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.into()),
        Err(_) => parse(text, "an address or a network, such as 10.0.0.5 or 10.0.0.0/8"),
    }
}

fn host_port(text: &str) -> Result<HostPort, String> {
    text.parse().map_err(|error| format!("{text:?} is {error}"))
}

/// Read from the file that the text names. A secret has no text of its own.
impl Text for Vec<Cookie> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let content = std::fs::read(text).map_err(|error| format!("cannot read {text}: {error}"))?;
        *self = Cookie::parse_file(&content).map_err(|error| format!("{text}: {error}"))?;
        Ok(())
    }

    fn show(&self) -> String {
        String::new()
    }
}

/// Read from the file that the text names; a fault is told with its line.
impl Text for Option<Arc<PasswordFile>> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = Some(Arc::new(read_file(text, PasswordFile::parse)?));
        Ok(())
    }

    fn show(&self) -> String {
        String::new()
    }
}

/// Read from the file that the text names.
impl Text for Option<AdminToken> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let content = std::fs::read(text).map_err(|error| format!("cannot read {text}: {error}"))?;
        *self = Some(AdminToken::parse_file(&content).map_err(|error| format!("{text}: {error}"))?);
        Ok(())
    }

    fn show(&self) -> String {
        String::new()
    }
}

/// Read from the file that the text names; a fault is told with its line.
impl Text for Option<Arc<Acl>> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = Some(Arc::new(read_file(text, Acl::parse)?));
        Ok(())
    }

    fn show(&self) -> String {
        String::new()
    }
}

fn read_file<T, E: Display>(path: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, String> {
    let content = std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    parse(&content).map_err(|error| format!("{path}: {error}"))
}

impl Text for Option<ResponseTopic> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = Some(text.parse().map_err(|error| format!("{text:?} is {error}"))?);
        Ok(())
    }

    fn show(&self) -> String {
        self.as_ref().map(ResponseTopic::to_string).unwrap_or_default()
    }
}

impl Text for Option<ServerReference> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = Some(text.parse().map_err(|error| format!("{text:?} is {error}"))?);
        Ok(())
    }

    fn show(&self) -> String {
        self.as_ref().map(ServerReference::to_string).unwrap_or_default()
    }
}

impl Number for QoS {
    fn value(&self) -> u64 {
        *self as u64
    }

    fn set(&mut self, value: u64) {
        *self = u8::try_from(value).ok().and_then(QoS::from_bits).unwrap_or(QoS::ExactlyOnce);
    }
}

impl Number for u32 {
    fn value(&self) -> u64 {
        u64::from(*self)
    }

    fn set(&mut self, value: u64) {
        *self = u32::try_from(value).unwrap_or(u32::MAX);
    }
}

impl Number for u16 {
    fn value(&self) -> u64 {
        u64::from(*self)
    }

    fn set(&mut self, value: u64) {
        *self = u16::try_from(value).unwrap_or(u16::MAX);
    }
}

impl Number for NonZeroU16 {
    fn value(&self) -> u64 {
        u64::from(self.get())
    }

    fn set(&mut self, value: u64) {
        *self = NonZeroU16::new(u16::try_from(value).unwrap_or(u16::MAX)).unwrap_or(NonZeroU16::MIN);
    }
}

impl Number for usize {
    fn value(&self) -> u64 {
        *self as u64
    }

    fn set(&mut self, value: u64) {
        *self = usize::try_from(value).unwrap_or(usize::MAX);
    }
}

/// In milliseconds.
impl Number for Duration {
    fn value(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }

    fn set(&mut self, value: u64) {
        *self = Duration::from_millis(value);
    }
}
