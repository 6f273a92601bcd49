//! Debian's docker-registry.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use reqwest::{Client, RequestBuilder, StatusCode};

use super::process::{Process, home, run};
use super::token::TokenServer;
use super::{blob_id, certificate, find};

/// What this server needs to be installed.
pub const PROGRAMS: &[&str] = &["docker-registry", "htpasswd", "openssl"];

/// Who may push and pull where not everybody may.
pub const USER: &str = "reader";

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// [`USER`] with [`Registry::password`], told by Basic authorization.
    Password,
    /// Who brings a token, which the token server gives to everybody for pulls.
    Token,
    /// Who brings a token, which the token server gives to [`USER`] only.
    TokenForPassword,
}

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    process: Process,
    password: String,
    tokens: Option<TokenServer>,
    access: Access,
}

impl Registry {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(access: Access, password: &str) -> io::Result<Self> {
        let home = home("registry")?;
        let (tokens, auth) = match access {
            Access::Open => (None, String::new()),
            Access::Password => {
                let line = run(Command::new("htpasswd").args(["-Bbn", USER, password]))?;
                fs::write(home.path().join("htpasswd"), line)?;
                let path = home.path().join("htpasswd");
                let auth = format!(
                    "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                    path.display()
                );
                (None, auth)
            }
            Access::Token | Access::TokenForPassword => {
                certificate::self_signed(home.path(), "token")?;
                let anonymous = access == Access::Token;
                let server = TokenServer::start(home.path(), password, anonymous)?;
                let auth = format!(
                    "auth:\n  token:\n    realm: {}\n    service: {}\n    issuer: {}\n    \
                     rootcertbundle: {}\n",
                    server.realm(),
                    super::token::SERVICE,
                    super::token::ISSUER,
                    home.path().join("token.pem").display()
                );
                (Some(server), auth)
            }
        };
        let process = Process::start(home, 1, |home, ports| {
            fs::write(home.join("config.yml"), config(home, ports[0], &auth))?;
            let program = find("docker-registry").ok_or(io::ErrorKind::NotFound)?;
            let mut command = Command::new(program);
            command.arg("serve").arg(home.join("config.yml"));
            Ok(command)
        })?;
        Ok(Self {
            process,
            password: password.to_owned(),
            tokens,
            access,
        })
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.process.port(0))
    }

    /// The password of [`USER`].
    pub fn password(&self) -> &str {
        &self.password
    }

    /// How many tokens were given out.
    pub fn tokens_given(&self) -> usize {
        self.tokens.as_ref().map_or(0, TokenServer::given)
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        self.process.log()
    }

    fn authorize(&self, request: RequestBuilder, repo: &str) -> io::Result<RequestBuilder> {
        Ok(match (&self.tokens, self.access) {
            (Some(tokens), _) => request.bearer_auth(tokens.sign(repo, &["pull", "push"])?),
            (None, Access::Password) => request.basic_auth(USER, Some(&self.password)),
            (None, _) => request,
        })
    }

    /// Uploads a blob as any client does; gives back its id.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub async fn push(&self, repo: &str, bytes: &[u8]) -> io::Result<String> {
        // Plain HTTP, but the client wants to know how it would do TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().build();
        let client = client.map_err(io::Error::other)?;
        let id = blob_id(bytes);
        let url = format!("http://{}/v2/{repo}/blobs/uploads/", self.host());
        let begin = self.authorize(client.post(&url), repo)?.send().await;
        let begun = begin.map_err(io::Error::other)?;
        let place = begun.headers().get("location");
        let place = place.and_then(|place| place.to_str().ok());
        let Some(place) = place.filter(|_| begun.status() == StatusCode::ACCEPTED) else {
            return Err(refused(begun, &self.log()).await);
        };
        let joint = if place.contains('?') { '&' } else { '?' };
        let url = format!("{place}{joint}digest=sha256:{id}");
        let put = client
            .put(&url)
            .header("content-type", "application/octet-stream")
            .body(bytes.to_vec());
        let put = self.authorize(put, repo)?.send().await;
        let put = put.map_err(io::Error::other)?;
        if put.status() != StatusCode::CREATED {
            return Err(refused(put, &self.log()).await);
        }
        Ok(id)
    }
}

async fn refused(answer: reqwest::Response, log: &str) -> io::Error {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    io::Error::other(format!("{status}: {text}; the registry says: {log}"))
}

fn config(home: &Path, port: u16, auth: &str) -> String {
    format!(
        "version: 0.1\n\
         log:\n  level: warn\n  accesslog:\n    disabled: true\n\
         storage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: 127.0.0.1:{port}\n  secret: any\n\
         {auth}",
        home.join("storage").display()
    )
}
