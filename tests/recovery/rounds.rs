//! A daemon that is killed under load, again and again: no wrong byte, nothing lost
//! that was acknowledged, nothing done twice, no request without an answer.
//!
//! `TIDEGATE_RECOVERY_ROUNDS` and `TIDEGATE_RECOVERY_SEED` make more of it; see
//! `scripts/recovery`.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::guest::{create, created};
use crate::load::{Actor, DATA, LOG, Namer, Reader, Writer};
use crate::rig::Rig;
use crate::support::dice::Dice;
use crate::support::frontend::{Config, Style};
use crate::support::image::{self, noise};
use crate::support::registry::{Registry, Settings};
use crate::support::session::wire::{Body, ROOT, op};
use crate::support::session::{Session, Ticket};

/// Files of the image, and bytes of each.
const FILES: usize = 24;
const LEN: usize = 400_000;

/// Guests that read.
const READERS: usize = 8;

/// Longest that one request may take, restart and all.
const PATIENCE: Duration = Duration::from_secs(60);

fn setting(name: &str, usual: u64) -> u64 {
    let value = std::env::var(format!("TIDEGATE_RECOVERY_{name}"));
    value.map_or(usual, |text| text.parse().unwrap())
}

fn config(style: Style) -> Config {
    Config {
        queues: 3,
        depth: 16,
        queue_size: 128,
        request_max: 64 << 10,
        reply_max: 128 << 10,
        style,
        ..Config::default()
    }
}

/// The guest and its VMM.
struct Guest {
    rig: Rig,
    source: PathBuf,
    session: Session,
    dice: Dice,
    readers: Vec<Reader>,
    writer: Writer,
    namer: Namer,
    /// Who waits for what, and since when.
    flight: HashMap<Ticket, (usize, Instant)>,
    idle: Vec<bool>,
    finished: usize,
}

impl Guest {
    fn new(seed: u64, style: Style, registry: &Registry, image: &image::Image) -> Self {
        let keys = json!({
            "scheme": "http", "host": registry.address().to_string(),
            "repo": "some/image", "timeout": 5, "connect_timeout": 5,
        });
        let made = json!({
            "device": {"backend": {"type": "registry", "config": keys}},
            "mode": "direct",
        });
        let home = tempfile::Builder::new()
            .prefix("load-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap()
            .keep();
        let source = home.join("source");
        fs::create_dir(&source).unwrap();
        fs::write(home.join("config.json"), made.to_string()).unwrap();
        let rig = Rig::new(&[
            "--shared-dir".into(),
            source.clone().into(),
            "--xattr".into(),
            "--bootstrap".into(),
            image.bootstrap().into(),
            "--config".into(),
            home.join("config.json").into(),
        ]);
        let config = config(style);
        let mut session = Session::connect(&rig.socket(), &config).unwrap();
        session.init().unwrap();
        let files: Vec<_> = (0..FILES)
            .map(|number| {
                let node = session.resolve(&format!("image/file-{number}")).unwrap();
                (node, noise(number as u64, LEN))
            })
            .collect();
        let readers = (0..READERS).map(|_| Reader::new(files.clone())).collect();
        let mut file = |name, flags| {
            created(
                &create(ROOT, name, libc::O_RDWR | flags)
                    .send(&mut session)
                    .unwrap(),
            )
        };
        let writer = Writer::new(file(LOG, libc::O_APPEND), file(DATA, 0));
        Self {
            rig,
            source,
            session,
            dice: Dice(seed),
            readers,
            writer,
            namer: Namer::default(),
            flight: HashMap::new(),
            idle: vec![true; READERS + 2],
            finished: 0,
        }
    }

    fn actor(&mut self, index: usize) -> &mut dyn Actor {
        match index {
            0 => &mut self.writer,
            1 => &mut self.namer,
            reader => &mut self.readers[reader - 2],
        }
    }

    /// Has everybody ask who is idle.
    fn ask(&mut self) {
        for index in 0..self.idle.len() {
            if !std::mem::take(&mut self.idle[index]) {
                continue;
            }
            let mut dice = self.dice.clone();
            let request = self.actor(index).next(&mut dice);
            self.dice = dice;
            let queue = match index {
                0 => 1,
                1 => 2,
                _ => 3,
            };
            let ticket = self
                .session
                .submit(queue, request.0, request.1, &request.2, Some(request.3))
                .unwrap();
            self.flight.insert(ticket, (index, Instant::now()));
            self.session.flush(queue).unwrap();
        }
        for node in self.namer.forget() {
            let body = Body::default().u64(1).0;
            self.session
                .submit(0, op::FORGET, node, &body, None)
                .unwrap();
            self.session.flush(0).unwrap();
        }
    }

    /// Takes the answers that are there; whether there were any.
    fn take(&mut self) -> bool {
        let before = self.finished;
        for queue in 0..self.session.frontend.queues.len() {
            while let Some(reply) = self.session.try_complete(queue).unwrap() {
                let ticket = reply.ticket;
                let body = self.session.body(reply);
                if queue == 0 {
                    body.unwrap();
                    continue;
                }
                let (index, _) = self.flight.remove(&ticket).unwrap();
                self.actor(index).done(body);
                self.idle[index] = true;
                self.finished += 1;
            }
        }
        for (index, since) in self.flight.values() {
            assert!(since.elapsed() < PATIENCE, "{index} has no answer");
        }
        self.finished > before
    }

    /// Goes on until so many more requests are answered.
    fn go_on(&mut self, more: usize) {
        let end = self.finished + more;
        while self.finished < end {
            self.ask();
            if !self.take() {
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    }

    /// Kills the daemon and starts another. Returns how long the guest stood still.
    fn crash(&mut self) -> Duration {
        self.ask();
        // Somewhere in what was just asked.
        let wait = self.dice.below(1500) as u64;
        std::thread::sleep(Duration::from_micros(wait));
        let start = Instant::now();
        self.rig.restart();
        self.session.reconnect().unwrap();
        if self.dice.below(3) == 0 {
            // In the middle of what is carried out again.
            let wait = self.dice.below(3000) as u64;
            std::thread::sleep(Duration::from_micros(wait));
            self.rig.restart();
            self.session.reconnect().unwrap();
        }
        // What was answered before counts for nothing.
        self.take();
        self.go_on(1);
        start.elapsed()
    }

    /// Waits for all answers and looks whether everything is there.
    fn check(&mut self) {
        while !self.flight.is_empty() {
            if !self.take() {
                std::thread::sleep(Duration::from_micros(20));
            }
        }
        self.writer.check(&self.source);
        self.namer.check(&self.source);
    }
}

fn rounds(style: Style) {
    let image = image::build(
        |root| {
            (0..FILES).try_for_each(|number| {
                fs::write(
                    root.join(format!("file-{number}")),
                    noise(number as u64, LEN),
                )
            })
        },
        &["--chunk-size", "64KiB"],
    )
    .unwrap();
    let settings = Settings {
        rtt_ms: 2.0,
        jitter_ms: 4.0,
        ..Settings::default()
    };
    let registry = Registry::start(&image.blobs(), settings).unwrap();
    let seed = setting("SEED", 1);
    let mut guest = Guest::new(seed, style, &registry, &image);
    let mut stalls: Vec<Duration> = Vec::new();
    for _ in 0..setting("ROUNDS", 5) {
        let more = 20 + guest.dice.below(200);
        guest.go_on(more);
        stalls.push(guest.crash());
        guest.go_on(20);
        guest.check();
    }
    assert_eq!(guest.rig.info()["lost"], json!([]));
    let stalls: Vec<_> = stalls
        .iter()
        .map(|stall| stall.as_secs_f64() * 1e3)
        .collect();
    println!(
        "{}",
        json!({
            "inflight": style == Style::Inflight, "seed": seed, "requests": guest.finished,
            "names": guest.namer.rounds(), "stalls_ms": stalls,
        })
    );
    fs::remove_dir_all(guest.source.parent().unwrap()).unwrap();
}

#[test]
fn rounds_with_a_vmm_that_keeps_the_record() {
    rounds(Style::Inflight);
}

#[test]
fn rounds_with_a_vmm_that_keeps_nothing() {
    rounds(Style::Used);
}
