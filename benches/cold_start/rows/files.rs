//! 200 small files, each read whole, 16 in flight.

use std::io;

use super::{Bench, DEPTH, network};
use crate::catalog::Catalog;
use crate::guest::{Ask, read_all};
use crate::statistics::Dice;
use crate::world::World;

const FILES: usize = 200;

/// Longest file that is small.
const SMALL: u64 = 64 << 10;

pub(crate) fn run(bench: &mut Bench, world: &World) -> io::Result<()> {
    let name = "b 200 small files, 20 ms, 100 MB/s";
    if !bench.wants(name) {
        return Ok(());
    }
    let asks = small(&world.catalog, FILES);
    let sides = bench.sides_on(world);
    bench.compare(name, &network(20.0, 100), &sides, &|world, started| {
        read_all(&mut started.guest, &asks, DEPTH, &world.catalog)
    })?;
    Ok(())
}

/// One read for each of so many small files, in no order.
pub(crate) fn small(catalog: &Catalog, count: usize) -> Vec<Ask> {
    let mut asks: Vec<Ask> = catalog
        .files
        .iter()
        .filter(|file| file.size <= SMALL)
        .filter_map(|file| {
            // A guest reads whole pages.
            let len = usize::try_from(file.size.next_multiple_of(4096)).ok()?;
            Some(Ask {
                path: file.path.clone(),
                offset: 0,
                len,
            })
        })
        .collect();
    let mut dice = Dice::new(7);
    let count = count.min(asks.len());
    for place in 0..count {
        let other = place + dice.index(asks.len() - place);
        asks.swap(place, other);
    }
    asks.truncate(count);
    asks
}
