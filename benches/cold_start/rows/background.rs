//! Reads of a guest while the whole image is downloaded in the background, and
//! without that.

use std::io;
use std::time::{Duration, Instant};

use super::random::distinct;
use super::{Bench, Contender, network};
use crate::guest::{Ask, Outcome, Reader};
use crate::side::{Side, Started};
use crate::support::session::Answer;
use crate::world::World;

/// How long is read: the download must not be done before.
const LENGTH: Duration = Duration::from_secs(3);

/// Bytes per second of the line, in millions.
const LINE: u64 = 10;

pub(crate) fn run(bench: &mut Bench, world: &World) -> io::Result<()> {
    let name = "g 4K reads, download beside, 10 MB/s";
    if !bench.wants(name) || !bench.sides.contains(&Side::tidegate()) {
        return Ok(());
    }
    let asks = late(world)?;
    let all = ["--prefetch", "all"];
    let sides = [
        Side::tidegate(),
        Side::tidegate_with("tidegate, download", &all),
    ];
    let sides = sides.map(|side| Contender { side, world });
    let lines = bench.compare(name, &network(20.0, LINE), &sides, &|world, started| {
        read_for_a_while(started, &asks, world)
    })?;
    let [without, with] = lines.as_slice() else {
        return Ok(());
    };
    bench.report.note(&format!(
        "p99 with the download: {:.2} of that without",
        with.p99_ms / without.p99_ms
    ));
    Ok(())
}

/// Pages of chunks in the second half of the blob, where the download comes
/// last.
fn late(world: &World) -> io::Result<Vec<Ask>> {
    let half = world.largest_blob()?.1 / 2;
    let mut asks = distinct(&world.catalog, usize::MAX, 5);
    asks.retain(|ask| {
        let mut files = world.catalog.files.iter();
        let file = files.find(|file| file.path == ask.path);
        let mut pieces = file.into_iter().flat_map(|file| &file.pieces);
        pieces.any(|piece| {
            (piece.offset..piece.offset + piece.len).contains(&ask.offset)
                && piece.stored_offset > half
        })
    });
    Ok(asks)
}

fn read_for_a_while(started: &mut Started, asks: &[Ask], world: &World) -> io::Result<Outcome> {
    let mut reader = Reader::new(&mut started.guest, asks).map_err(io::Error::other)?;
    let seconds = drive(&mut reader, asks).map_err(io::Error::other)?;
    reader.judge(asks, &world.catalog, seconds)
}

fn drive(reader: &mut Reader<'_>, asks: &[Ask]) -> Answer<f64> {
    let start = Instant::now();
    for (index, ask) in asks.iter().enumerate() {
        if start.elapsed() > LENGTH {
            break;
        }
        reader.submit(index, ask)?;
        let reply = reader.guest.complete(1)?;
        reader.take(reply);
    }
    Ok(start.elapsed().as_secs_f64())
}
