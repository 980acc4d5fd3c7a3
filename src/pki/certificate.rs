//! What certificates say beside their keys: whom they name, and until when they hold.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Warnings begin so long before a certificate expires.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// The name of a certificate's owner: the common name of its subject, and where it has none the first alternative name that
/// is a DNS name, an address of electronic mail or a URI. Names that are empty or have control characters are none.
pub fn name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let certificate = certificate.tbs_certificate();
    let common = certificate.subject().common_name().ok().flatten().map(|name| name.value().into_owned());
    common.filter(|name| is_usable(name)).or_else(|| {
        let (_, alternatives) = certificate.get_extension::<SubjectAltName>().ok().flatten()?;
        let names = alternatives.0.iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str()),
            GeneralName::Rfc822Name(name) => Some(name.as_str()),
            GeneralName::UniformResourceIdentifier(name) => Some(name.as_str()),
            _ => None,
        });
        names.into_iter().find(|name| is_usable(name)).map(str::to_owned)
    })
}

/// An alternative name of a certificate's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// A DNS name, perhaps with `*` for its first label.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI.
    Uri(String),
}

/// The alternative names of these kinds, in the order of the certificate; none where it cannot be read.
pub fn alternative_names(certificate: &CertificateDer<'_>) -> Vec<AlternativeName> {
    let extension = Certificate::from_der(certificate).ok().and_then(|certificate| {
        certificate.tbs_certificate().get_extension::<SubjectAltName>().ok().flatten()
    });
    let Some((_, names)) = extension else { return Vec::new() };
    let of_kind = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(AlternativeName::Dns(name.as_str().to_owned())),
        GeneralName::UniformResourceIdentifier(uri) => Some(AlternativeName::Uri(uri.as_str().to_owned())),
        GeneralName::IpAddress(bytes) => {
            let four = <[u8; 4]>::try_from(bytes.as_bytes()).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(bytes.as_bytes()).map(IpAddr::from));
            address.ok().map(AlternativeName::Ip)
        }
        _ => None,
    };
    names.0.iter().filter_map(of_kind).collect()
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AlternativeName::Dns(name) | AlternativeName::Uri(name) => {
                f.write_str(&name.escape_debug().to_string())
            }
            AlternativeName::Ip(address) => address.fmt(f),
        }
    }
}

fn is_usable(name: &str) -> bool {
    !name.is_empty() && !name.contains(char::is_control)
}

/// What an operator should know of how long a certificate holds. None while it is valid for some time.
pub fn validity_warning(certificate: &CertificateDer<'_>, now: SystemTime) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let (from, until) = (validity.not_before.to_system_time(), validity.not_after.to_system_time());
    if now < from {
        Some(format!("is not valid before {}", validity.not_before))
    } else if now > until {
        Some(format!("has expired on {} and will be refused", validity.not_after))
    } else if now + EXPIRES_SOON > until {
        Some(format!("expires on {}", validity.not_after))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn the_common_name_comes_before_alternatives() {
        let ia5 = |name: &str| Ia5String::try_from(name).unwrap();
        let named = |common: Option<&str>, alternatives: Vec<SanType>| {
            name(&certificate(|params| {
                params.distinguished_name.push(DnType::OrganizationName, "an organization");
                if let Some(common) = common {
                    params.distinguished_name.push(DnType::CommonName, common);
                }
                params.subject_alt_names = alternatives;
            }))
        };
        let dns = || SanType::DnsName(ia5("device.example.org"));
        assert_eq!(named(Some("Gerät 1"), vec![dns()]).as_deref(), Some("Gerät 1"));
        assert_eq!(named(None, vec![dns()]).as_deref(), Some("device.example.org"));
        assert_eq!(named(Some(""), vec![dns()]).as_deref(), Some("device.example.org"));
        let others =
            vec![SanType::IpAddress([10, 0, 0, 1].into()), SanType::Rfc822Name(ia5("a@example.org"))];
        assert_eq!(named(None, others).as_deref(), Some("a@example.org"));
        assert_eq!(named(None, vec![SanType::URI(ia5("urn:dev:1"))]).as_deref(), Some("urn:dev:1"));
        assert_eq!(named(None, vec![]), None);
        assert_eq!(named(Some("with\0zero"), vec![]), None);
        assert_eq!(name(&CertificateDer::from(vec![0x30, 0x00])), None);
    }

    #[test]
    fn alternative_names_of_three_kinds_are_told() {
        let ia5 = |name: &str| Ia5String::try_from(name).unwrap();
        let names = alternative_names(&certificate(|params| {
            params.subject_alt_names = vec![
                SanType::DnsName(ia5("*.example.org")),
                SanType::Rfc822Name(ia5("a@example.org")),
                SanType::IpAddress([10, 0, 0, 1].into()),
                SanType::IpAddress("2001:db8::1".parse().unwrap()),
                SanType::URI(ia5("rumormq:a@h")),
            ];
        }));
        let shown: Vec<String> = names.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["*.example.org", "10.0.0.1", "2001:db8::1", "rumormq:a@h"]);
        assert_eq!(alternative_names(&certificate(|_| ())), []);
        assert_eq!(alternative_names(&CertificateDer::from(vec![0x30, 0x00])), []);
    }

    #[test]
    fn the_operator_is_warned_of_dates() {
        let now = SystemTime::now();
        let certificate = certificate(|params| {
            params.not_before = (now - 10 * DAY).into();
            params.not_after = (now + 100 * DAY).into();
        });
        assert_eq!(validity_warning(&certificate, now), None);
        for (at, warning) in [
            (now - 11 * DAY, "is not valid before "),
            (now + 90 * DAY, "expires on "),
            (now + 101 * DAY, "has expired on "),
        ] {
            let text = validity_warning(&certificate, at).unwrap();
            assert!(text.starts_with(warning), "{text}");
        }
    }
}
