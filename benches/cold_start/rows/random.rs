//! 300 random reads of 4 KiB, each of another chunk, 16 in flight.

use std::collections::HashSet;
use std::io;

use super::{Bench, DEPTH, network};
use crate::catalog::Catalog;
use crate::guest::{Ask, read_all};
use crate::statistics::Dice;
use crate::world::World;

const READS: usize = 300;
const PAGE: u64 = 4096;

pub(crate) fn run(bench: &mut Bench, world: &World) -> io::Result<()> {
    let asks = distinct(&world.catalog, READS, 42);
    for (name, megabytes) in [
        ("a 300 random 4K, 20 ms, 100 MB/s", 100),
        ("a 300 random 4K, 20 ms, 1 GB/s", 1000),
    ] {
        if bench.wants(name) {
            let sides = bench.sides_on(world);
            bench.compare(
                name,
                &network(20.0, megabytes),
                &sides,
                &|world, started| read_all(&mut started.guest, &asks, DEPTH, &world.catalog),
            )?;
        }
    }
    Ok(())
}

/// So many reads of a page, each in a chunk that no other read touches, in no
/// order.
pub(crate) fn distinct(catalog: &Catalog, count: usize, seed: u64) -> Vec<Ask> {
    let mut dice = Dice::new(seed);
    let (mut pages, mut seen) = (Vec::new(), HashSet::new());
    for file in &catalog.files {
        for piece in file.pieces.iter().filter(|piece| piece.len >= PAGE) {
            if seen.insert(piece.id) {
                let page = dice.below(piece.len / PAGE);
                pages.push(Ask {
                    path: file.path.clone(),
                    offset: piece.offset + page * PAGE,
                    len: 4096,
                });
            }
        }
    }
    let count = count.min(pages.len());
    for place in 0..count {
        let other = place + dice.index(pages.len() - place);
        pages.swap(place, other);
    }
    pages.truncate(count);
    pages
}
