//! Authorities and certificates, made for a test and gone with it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Who signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// A directory with its own certificate, `ca.pem`, and those it has signed.
    directory: PathBuf,
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        std::fs::create_dir_all(&directory).expect("a writable target directory");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("randomness");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority's certificate");
        let authority = Authority { issuer, directory };
        std::fs::write(authority.certificate(), authority.issuer.pem()).expect("a writable target directory");
        authority
    }

    /// The file of its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// A certificate for `localhost` and 127.0.0.1.
    pub fn server(&self) -> Identity {
        self.issue("localhost", &["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client of this name.
    pub fn client(&self, common_name: &str) -> Identity {
        self.issue(common_name, &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A certificate for a node, in files of this name: for all nodes on these hosts, or for the one of this URI.
    pub fn node(&self, file: &str, hosts: &[&str], uri: Option<&str>) -> Identity {
        let names: Vec<String> = hosts.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names of hosts");
        let uri = uri.map(|uri| SanType::URI(uri.try_into().expect("ASCII")));
        params.subject_alt_names.extend(uri);
        let purposes = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(file, params, purposes.to_vec())
    }

    fn issue(&self, common_name: &str, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names of hosts");
        self.sign(common_name, params, vec![purpose])
    }

    fn sign(
        &self,
        common_name: &str,
        mut params: CertificateParams,
        purposes: Vec<ExtendedKeyUsagePurpose>,
    ) -> Identity {
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        let key = KeyPair::generate().expect("randomness");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = Identity {
            certificate: self.directory.join(format!("{common_name}.pem")),
            key: self.directory.join(format!("{common_name}.key")),
        };
        std::fs::write(&files.certificate, certificate.pem()).expect("a writable target directory");
        std::fs::write(&files.key, key.serialize_pem()).expect("a writable target directory");
        files
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
