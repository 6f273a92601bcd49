//! Every knob. Times are in milliseconds, sizes in bytes, and all of it is the
//! JSON of `PUT /_control`.

use serde::{Deserialize, Serialize};

/// How the registry behaves. The default is a fast one without faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// From a request's arrival to the first byte of its answer.
    pub rtt_ms: f64,
    /// Added to the first answer of each connection, as a handshake would.
    pub connect_ms: f64,
    /// Up to this much is added to each `rtt_ms`, evenly spread.
    pub jitter_ms: f64,
    /// Bytes per second of the whole registry's link; 0 is no limit.
    pub bandwidth: u64,
    /// Who may ask.
    pub auth: Auth,
    /// Where blobs really are; `None` serves them where they are asked for.
    pub redirect: Option<Redirect>,
    /// What goes wrong: the first fault that applies to a request is done.
    pub faults: Vec<Fault>,
    /// Of everything that is random.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rtt_ms: 0.0,
            connect_ms: 0.0,
            jitter_ms: 0.0,
            bandwidth: 0,
            auth: Auth::Open,
            redirect: None,
            faults: Vec::new(),
            seed: 1,
        }
    }
}

/// Who may ask for what lies below `/v2/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Auth {
    /// Anybody.
    Open,
    /// Who sends this user and password.
    Basic {
        /// User.
        user: String,
        /// Password.
        password: String,
    },
    /// Who sends a token of `/token` that has not expired.
    Bearer {
        /// User and password that `/token` wants; `None` gives tokens to
        /// anybody.
        #[serde(default)]
        login: Option<(String, String)>,
        /// Life of a token.
        expires_ms: u64,
        /// Seconds that the token's answer tells; `None` leaves `expires_in`
        /// out.
        #[serde(default)]
        told_s: Option<u64>,
        /// `/token` answers to GET only, with 405 to POST.
        #[serde(default)]
        get_only: bool,
    },
}

/// How blob requests are sent elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redirect {
    /// Answers of 307 before the blob.
    pub hops: u32,
    /// The last hop leads to the second port: another origin, which must not
    /// see the `Authorization` header (400 if it does, as S3 answers).
    pub other_port: bool,
    /// `Location` is a path without host (not where the port changes).
    pub relative: bool,
    /// Life of a signed link; after it, 403.
    pub expires_ms: u64,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            hops: 1,
            other_port: false,
            relative: false,
            expires_ms: 3_600_000,
        }
    }
}

/// One thing that goes wrong, and when. All conditions must hold; none is
/// always.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub what: What,
    /// Which requests are meant.
    #[serde(default)]
    pub on: On,
    /// Each so-manieth of them: 7 is the 7th, the 14th, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// By chance, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Not before so long after the settings came into force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// For so long, counted from `after_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// So often and no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

impl Fault {
    /// Always.
    pub fn new(what: What) -> Self {
        Self {
            what,
            on: On::Blob,
            every: None,
            probability: None,
            after_ms: None,
            for_ms: None,
            times: None,
        }
    }

    /// On these requests.
    pub fn on(self, on: On) -> Self {
        Self { on, ..self }
    }

    /// Each `n`th time.
    pub fn every(self, n: u64) -> Self {
        Self {
            every: Some(n),
            ..self
        }
    }

    /// By chance, 0 to 1.
    pub fn probability(self, p: f64) -> Self {
        Self {
            probability: Some(p),
            ..self
        }
    }

    /// For so long from now.
    pub fn for_ms(self, length: u64) -> Self {
        Self {
            for_ms: Some(length),
            ..self
        }
    }

    /// `n` times and no more.
    pub fn times(self, n: u64) -> Self {
        Self {
            times: Some(n),
            ..self
        }
    }
}

/// Which requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// GET of a blob, where its bytes are (behind all redirects).
    #[default]
    Blob,
    /// Any request at all for a blob below `/v2/` or at a plain path, before
    /// its redirect.
    Entry,
    /// A signed link.
    Link,
    /// `/token`.
    Token,
    /// A manifest.
    Manifest,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum What {
    /// This status, with a small JSON body.
    Status {
        /// 401, 403, 404, 429, 5xx, ...
        status: u16,
        /// Value of `Retry-After`: seconds or a date.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// The header promises all, the connection closes half-way.
    Truncate,
    /// A correct answer to a shorter range: half of what was asked for.
    Short,
    /// So many bytes of the body have a bit flipped.
    Alter {
        /// Bytes altered, at random places.
        bytes: u32,
    },
    /// 200 with the whole blob, the range ignored.
    Whole,
    /// 206 whose `Content-Range` and bytes are those of another range.
    WrongRange,
    /// Right bytes with no `Content-Length` (chunked transfer).
    Chunked,
    /// RST half-way.
    Reset,
    /// The connection closes without an answer.
    Close,
    /// No answer ever.
    Hang,
    /// Headers and half of the body, and then nothing ever.
    HangMidway,
    /// The body comes at so many bytes per second.
    Drip {
        /// Bytes per second.
        rate: u64,
    },
}
