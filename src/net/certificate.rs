//! What certificates say beside their keys: whom they name, and until when they hold.

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
        Some(format!("has expired on {}; clients will refuse it", validity.not_after))
    } else if now + EXPIRES_SOON > until {
        Some(format!("expires on {}", validity.not_after))
    } else {
        None
    }
}
