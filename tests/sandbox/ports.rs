//! Ports that only root may have.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::image;

/// A free port that needs CAP_NET_BIND_SERVICE; none where no port does, or this
/// process has not got it.
fn privileged() -> Option<SocketAddr> {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?;
    let first: u16 = first.trim().parse().ok()?;
    (1..first).rev().take(200).find_map(|port| {
        let listener = TcpListener::bind(("127.0.0.1", port)).ok()?;
        listener.local_addr().ok()
    })
}

fn metrics(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn metrics_are_served_at_a_low_port() {
    let image = image::small().unwrap();
    for level in ["standard", "strict"] {
        let Some(address) = privileged() else {
            eprintln!("Skipped: no port below 1024 is to be had");
            return;
        };
        let at = address.to_string();
        let daemon = image.serve(&["--sandbox", level, "--metrics-address", &at]);
        let daemon = daemon.unwrap();
        let start = Instant::now();
        // Answers begin a moment after the device's socket listens.
        let text = loop {
            match metrics(address) {
                Ok(text) => break text,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
            }
            std::thread::yield_now();
        };
        assert!(text.contains("tidegate_image"), "{text}");
        // The right to such a port is gone.
        for thread in crate::threads::of(daemon.pid()) {
            assert_eq!(thread.capabilities & (1 << 10), 0, "{thread:?}");
        }
    }
}
