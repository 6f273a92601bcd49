//! Asks the API of another daemon: `tidegate ctl`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};

/// Longest answer, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// Time for a whole question.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The daemon cannot be reached.
    #[error("Cannot ask the daemon on {}: check that it runs with this --api-socket", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
    /// The daemon refuses.
    #[error("The daemon refuses ({status}): {message}")]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// What it says.
        message: String,
    },
    /// More than any answer has.
    #[error("The answer of the daemon has more than 16 MiB")]
    TooLong,
}

/// Sends a request with a JSON body, if there is one, and gives the text of the
/// answer.
///
/// # Errors
/// When the daemon cannot be reached or does not answer with success.
pub async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<String, ClientError> {
    let failed = |source| ClientError::Unreachable {
        socket: socket.to_owned(),
        source,
    };
    // The provider of TLS is asked for even where there is none; a second
    // installation is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .unix_socket(socket)
        .no_proxy()
        .tls_certs_only([])
        .timeout(PATIENCE)
        .build()
        .map_err(failed)?;
    let mut request = client.request(method, format!("http://localhost{path}"));
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body);
    }
    let mut answer = request.send().await.map_err(failed)?;
    let status = answer.status();
    let mut text = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(failed)? {
        if text.len() + part.len() > ANSWER_MAX {
            return Err(ClientError::TooLong);
        }
        text.extend_from_slice(&part);
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    if status.is_success() {
        return Ok(text);
    }
    let body: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let message = body.and_then(|body| Some(body.get("message")?.as_str()?.to_owned()));
    let message = message.unwrap_or(text);
    Err(ClientError::Refused { status, message })
}
