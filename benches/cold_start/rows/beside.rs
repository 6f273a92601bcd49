//! LOOKUPs while four misses are always under way on the same queue.

use std::io;
use std::time::Instant;

use super::random::distinct;
use super::{Bench, network};
use crate::guest::{Ask, Outcome, Reader};
use crate::side::Started;
use crate::support::session::Answer;
use crate::support::session::wire::{Body, Entry, ROOT, op};
use crate::world::World;

const MISSES: usize = 4;
const READS: usize = 400;
const LOOKUPS: usize = 200;

pub(crate) fn run(bench: &mut Bench, world: &World) -> io::Result<()> {
    let name = "d LOOKUP beside 4 misses, 20 ms";
    if !bench.wants(name) {
        return Ok(());
    }
    let asks = distinct(&world.catalog, READS, 11);
    let sides = bench.sides_on(world);
    bench.compare(name, &network(20.0, 100), &sides, &|world, started| {
        look_beside(started, &asks, world)
    })?;
    Ok(())
}

/// Latencies of the outcome are those of the LOOKUPs.
fn look_beside(started: &mut Started, asks: &[Ask], world: &World) -> io::Result<Outcome> {
    let mut reader = Reader::new(&mut started.guest, asks).map_err(io::Error::other)?;
    let (looks, seconds) = drive(&mut reader, asks).map_err(io::Error::other)?;
    let mut outcome = reader.judge(asks, &world.catalog, seconds)?;
    outcome.latencies = looks;
    Ok(outcome)
}

fn drive(reader: &mut Reader<'_>, asks: &[Ask]) -> Answer<(Vec<std::time::Duration>, f64)> {
    // Names in the root, so that a LOOKUP is one step.
    let names = [
        "bin",
        "etc",
        "usr",
        "var",
        "no-such-name",
        "lib",
        "tmp",
        "root",
    ];
    let (start, mut next, mut looks) = (Instant::now(), 0, Vec::new());
    while looks.len() < LOOKUPS && (next < asks.len() || reader.in_flight() > 0) {
        while reader.in_flight() < MISSES && next < asks.len() {
            reader.submit(next, &asks[next])?;
            next += 1;
        }
        let name = names[looks.len() % names.len()];
        let body = Body::default().name(name.as_bytes()).0;
        let asked = Instant::now();
        let room = Some(Entry::LEN);
        let ticket = reader.guest.submit(1, op::LOOKUP, ROOT, &body, room)?;
        reader.guest.flush(1)?;
        loop {
            let reply = reader.guest.complete(1)?;
            if reply.ticket == ticket {
                looks.push(asked.elapsed());
                // ENOENT is an answer too.
                let _ = reader.guest.finish(reply);
                break;
            }
            reader.take(reply);
        }
        // A guest does something between two LOOKUPs: wait for one miss every
        // few of them.
        if looks.len() % 4 == 0 && reader.in_flight() > 0 {
            let reply = reader.guest.complete(1)?;
            reader.take(reply);
        }
    }
    while reader.in_flight() > 0 {
        let reply = reader.guest.complete(1)?;
        reader.take(reply);
    }
    Ok((looks, start.elapsed().as_secs_f64()))
}
