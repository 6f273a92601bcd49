//! A CA of our own and a server's certificate, made by openssl.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::run;

/// Files in PEM form.
#[derive(Debug)]
pub struct Files {
    /// The CA's certificate: what clients are to trust.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

fn openssl(arguments: &[&str], dir: &Path) -> io::Result<()> {
    run(Command::new("openssl").args(arguments).current_dir(dir)).map(drop)
}

/// A certificate for `localhost`, `*.localhost` and 127.0.0.1, and the CA that
/// signed it, in `dir`.
///
/// # Errors
/// When openssl fails.
pub fn make(dir: &Path) -> io::Result<Files> {
    let names = "subjectAltName=DNS:localhost,DNS:*.localhost,IP:127.0.0.1\n\
                 extendedKeyUsage=serverAuth\n";
    fs::write(dir.join("names"), names)?;
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let ca = ["req", "-x509", "-days", "2", "-subj", "/CN=Test CA"];
    let out = ["-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&[&ca[..], &key, &out].concat(), dir)?;
    let request = ["req", "-new", "-subj", "/CN=localhost"];
    let out = ["-keyout", "server.key", "-out", "server.csr"];
    openssl(&[&request[..], &key, &out].concat(), dir)?;
    let sign = ["x509", "-req", "-in", "server.csr", "-days", "2"];
    let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    let out = ["-extfile", "names", "-out", "server.pem"];
    openssl(&[&sign[..], &by, &out].concat(), dir)?;
    Ok(Files {
        ca: dir.join("ca.pem"),
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
    })
}

/// A certificate that signs itself and its RSA key, as `NAME.pem` and `NAME.key`
/// in `dir`.
///
/// # Errors
/// When openssl fails.
pub fn self_signed(dir: &Path, name: &str) -> io::Result<()> {
    let start = [
        "req", "-x509", "-days", "2", "-newkey", "rsa:2048", "-nodes",
    ];
    let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
    let subject = format!("/CN={name}");
    let out = ["-subj", &subject, "-keyout", &key, "-out", &certificate];
    openssl(&[&start[..], &out].concat(), dir)
}
