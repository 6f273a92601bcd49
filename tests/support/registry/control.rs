//! The endpoints of the program form.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;

use super::server::State;
use super::settings::Settings;

type Answer = Response<Full<Bytes>>;

/// Answers a request to `/_...`.
pub(super) fn answer(state: &State, method: &Method, path: &str, body: &[u8]) -> Answer {
    match (method.as_str(), path) {
        ("PUT", "/_control") => match serde_json::from_slice::<Settings>(body) {
            Ok(settings) => {
                state.change(|current| *current = settings);
                text(StatusCode::OK, "")
            }
            Err(error) => text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
        },
        ("GET", "/_control") => json(&*state.settings()),
        ("GET", "/_counts") => json(&state.counts.now()),
        ("GET", "/_log") => json(&state.counts.log()),
        ("POST", "/_reset") => {
            state.counts.reset();
            text(StatusCode::OK, "")
        }
        ("POST", "/_expire") => {
            state.expire();
            text(StatusCode::OK, "")
        }
        _ => text(StatusCode::NOT_FOUND, "no such endpoint\n"),
    }
}

fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(body) => {
            let mut answer = text(StatusCode::OK, &body);
            let kind = HeaderValue::from_static("application/json");
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn text(status: StatusCode, body: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *answer.status_mut() = status;
    answer
}
