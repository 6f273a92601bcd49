//! nginx with static files, over HTTP and HTTPS.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Process, home};
use super::{blob_id, certificate, find};

/// What this server needs to be installed.
pub const PROGRAMS: &[&str] = &["nginx", "openssl"];

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    ca: PathBuf,
}

impl Nginx {
    /// Starts one that serves a directory of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn files() -> io::Result<Self> {
        Self::start("")
    }

    /// Starts one that hands on to `to` (a URL) what carries a header with this
    /// value, and refuses everything else. `Host` is handed on as it is, so that
    /// signatures stay good.
    ///
    /// # Errors
    /// When it does not start.
    pub fn gate(to: &str, header: &str, value: &str) -> io::Result<Self> {
        let variable = header.replace('-', "_");
        Self::start(&format!(
            "if ($http_{variable} != \"{value}\") {{ return 403; }}\n\
             proxy_pass {to};\n\
             proxy_set_header Host $http_host;\n"
        ))
    }

    /// Starts one that hands everything on to `to`. With [`Nginx::socket`] it
    /// stands in for names that no resolver knows.
    ///
    /// # Errors
    /// When it does not start.
    pub fn relay(to: &str) -> io::Result<Self> {
        Self::start(&format!(
            "proxy_pass {to};\n\
             proxy_set_header Host $http_host;\n"
        ))
    }

    /// Starts one that hands everything on to `to`, a registry whose tokens for
    /// `repository` are to be had at `/token`, and says that they are here, by TLS.
    ///
    /// # Errors
    /// When it does not start.
    pub fn token_registry(to: &str, repository: &str) -> io::Result<Self> {
        Self::start(&format!(
            "proxy_pass {to};\n\
             proxy_set_header Host $http_host;\n\
             proxy_hide_header WWW-Authenticate;\n\
             add_header WWW-Authenticate 'Bearer realm=\"https://$http_host/token\",\
             service=\"test-registry\",scope=\"repository:{repository}:pull\"' always;\n"
        ))
    }

    fn start(location: &str) -> io::Result<Self> {
        let home = home("nginx")?;
        fs::create_dir(home.path().join("files"))?;
        let files = certificate::make(home.path())?;
        let process = Process::start(home, 2, |home, ports| {
            let config = config(home, ports, &files, location);
            fs::write(home.join("nginx.conf"), config)?;
            let program = find("nginx").ok_or(io::ErrorKind::NotFound)?;
            let mut command = Command::new(program);
            command.arg("-p").arg(home);
            command.args(["-e", "stderr", "-c", "nginx.conf"]);
            Ok(command)
        })?;
        let ca = files.ca;
        Ok(Self { process, ca })
    }

    /// Puts a blob into a folder below the root; gives back its id.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, folder: &str, bytes: &[u8]) -> io::Result<String> {
        let id = blob_id(bytes);
        let folder = self.process.home().join("files").join(folder);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(&id), bytes)?;
        Ok(id)
    }

    /// The root over HTTP.
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.process.port(0))
    }

    /// The root over HTTPS.
    pub fn https(&self) -> String {
        format!("https://localhost:{}", self.process.port(1))
    }

    /// A Unix socket for HTTP.
    pub fn socket(&self) -> PathBuf {
        self.process.home().join("socket")
    }

    /// The CA that signed the server's certificate.
    pub fn ca(&self) -> &Path {
        &self.ca
    }
}

/// One process without workers, so that killing it ends it all.
fn config(home: &Path, ports: &[u16], files: &certificate::Files, location: &str) -> String {
    let home = home.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {home}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {home}/pid;\nerror_log stderr;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n{temporary}access_log {home}/access.log;\n\
         server {{\n\
         listen 127.0.0.1:{};\n\
         listen 127.0.0.1:{} ssl;\n\
         listen unix:{home}/socket;\n\
         ssl_certificate {};\nssl_certificate_key {};\n\
         root {home}/files;\n\
         location / {{\n{location}}}\n\
         }}\n}}\n",
        ports[0],
        ports[1],
        files.certificate.display(),
        files.key.display(),
    )
}
