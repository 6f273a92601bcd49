//! A source that alters every seventh answer.

use std::io;

use super::files::small;
use super::{Bench, Contender, DEPTH, network};
use crate::guest::{Ask, read_all};
use crate::side::Side;
use crate::support::registry::{Fault, Settings, What};
use crate::world::World;

const FILES: usize = 200;

pub(crate) fn run(bench: &mut Bench, world: &World) -> io::Result<()> {
    let name = "f 200 files, every 7th answer altered";
    if !bench.wants(name) {
        return Ok(());
    }
    let asks = small(&world.catalog, FILES);
    let network = network(1.0, 1000);
    let faulty = Settings {
        faults: vec![Fault::new(What::Alter { bytes: 500 }).every(7)],
        ..network.clone()
    };
    let mut sides = bench.sides_on(world);
    if bench.sides.contains(&Side::PLAIN) {
        let side = Side::Nydusd {
            amplify: 0,
            validate: true,
        };
        sides.push(Contender { side, world });
    }
    bench.compare(name, &network, &sides, &|world, started| {
        // nydusd fetches its own tables at the first read; those are not the
        // point here.
        let first: Vec<Ask> = asks.iter().take(1).cloned().collect();
        read_all(&mut started.guest, &first, 1, &world.catalog)?;
        world.registry.set(&faulty)?;
        read_all(&mut started.guest, &asks, DEPTH, &world.catalog)
    })?;
    Ok(())
}
