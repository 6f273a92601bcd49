//! Redirects: `/link/<blob>?hop=N&until=MS&era=N&signature=...`.
//!
//! A link's hops count down; hop 0 is where the bytes are. Links die at `until`
//! or with the registry's era.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::settings::Redirect;

/// What makes links and knows them again.
#[derive(Debug)]
pub(super) struct Links {
    start: Instant,
    era: AtomicU64,
}

/// A link's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// The bytes are here.
    Here,
    /// So many hops are left.
    On(u32),
    /// Expired, or not made by us.
    Dead,
}

impl Links {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            era: AtomicU64::new(0),
        }
    }

    pub(super) fn expire(&self) {
        self.era.fetch_add(1, Ordering::Relaxed);
    }

    /// `Location` of a redirect that leaves `left` hops.
    pub(super) fn location(
        &self,
        blob: &str,
        left: u32,
        redirect: &Redirect,
        ports: &[SocketAddr; 2],
    ) -> String {
        let end = self.start.elapsed() + Duration::from_millis(redirect.expires_ms);
        let (until, era) = (end.as_millis(), self.era.load(Ordering::Relaxed));
        let signature = signature(blob, left, until, era);
        let path =
            format!("/link/{blob}?hop={left}&until={until}&era={era}&signature={signature:016x}");
        match (left == 0 && redirect.other_port, redirect.relative) {
            (true, _) => format!("http://{}{path}", ports[1]),
            (false, true) => path,
            (false, false) => format!("http://{}{path}", ports[0]),
        }
    }

    /// Reads a link's query.
    pub(super) fn read(&self, blob: &str, query: &str) -> Link {
        let fields: HashMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        self.check(blob, &fields).unwrap_or(Link::Dead)
    }

    fn check(&self, blob: &str, fields: &HashMap<&str, &str>) -> Option<Link> {
        let hop: u32 = fields.get("hop")?.parse().ok()?;
        let until: u128 = fields.get("until")?.parse().ok()?;
        let era: u64 = fields.get("era")?.parse().ok()?;
        let said = u64::from_str_radix(fields.get("signature")?, 16).ok()?;
        let good = said == signature(blob, hop, until, era)
            && era == self.era.load(Ordering::Relaxed)
            && self.start.elapsed().as_millis() < until;
        Some(match (good, hop) {
            (false, _) => Link::Dead,
            (true, 0) => Link::Here,
            (true, left) => Link::On(left),
        })
    }
}

/// Not a secret, but a changed link does not fit it.
fn signature(blob: &str, hop: u32, until: u128, era: u64) -> u64 {
    let text = format!("{blob} {hop} {until} {era}");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
