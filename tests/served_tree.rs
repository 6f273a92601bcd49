//! What a guest sees is the tree that the image was made of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::frontend::{Config, Cut, Regions, Wait};
use support::target::Target;
use support::{image, manifest, tree};

#[test]
fn odd_tree_is_served_as_it_is() {
    let mut target = Target::new(tree::odd, &[]);
    let mut session = target.mount(&Config::default());
    manifest::assert_same(&target.image.source(), &mut session);
}

#[test]
fn file_is_the_same_however_the_guest_lays_its_buffers() {
    let mut target = Target::new(image::fill_small, &[]);
    let base = Config {
        reply_max: 128 << 10,
        depth: 2,
        ..Config::default()
    };
    let shapes = [
        base.clone(),
        Config {
            cut: Cut::Whole,
            ..base.clone()
        },
        Config {
            indirect: false,
            ..base.clone()
        },
        Config {
            event_index: false,
            ..base.clone()
        },
        Config {
            regions: Regions::Touching,
            ..base.clone()
        },
        Config {
            regions: Regions::Apart,
            ..base.clone()
        },
        Config {
            wait: Wait::Spin,
            ..base.clone()
        },
        Config {
            queue_size: 128,
            ..base.clone()
        },
    ];
    let expected: Vec<u8> = (0..image::FILE_LEN).map(image::file_byte).collect();
    for shape in shapes {
        let mut session = target.mount(&shape);
        let node = session.resolve(image::FILE).unwrap();
        let handle = session.open(node).unwrap();
        let found = session.read(node, handle, 0, image::FILE_LEN + 1).unwrap();
        assert!(found == expected, "{shape:?}");
        let tail = session.read(node, handle, 299_990, 100).unwrap();
        assert_eq!(tail, expected[299_990..], "{shape:?}");
    }
}

#[test]
fn listings_and_lookups_agree() {
    let mut target = Target::new(tree::odd_small, &[]);
    let mut session = target.mount(&Config::default());
    let node = session.resolve("names").unwrap();
    let plain = session.list(node, false).unwrap();
    let plus = session.list(node, true).unwrap();
    assert!(plain.len() > 10);
    assert_eq!(plain.len(), plus.len());
    for (plain, plus) in plain.iter().zip(&plus) {
        assert_eq!(
            (&plain.name, plain.inode, plain.kind),
            (&plus.name, plus.inode, plus.kind)
        );
        let found = session.lookup(node, &plain.name).unwrap();
        let listed = plus.entry.unwrap();
        assert_eq!(
            (found.node, found.attributes),
            (listed.node, listed.attributes)
        );
    }
}

#[test]
fn queue_goes_on_where_it_was_stopped() {
    let mut target = Target::new(image::fill_small, &[]);
    let mut session = target.mount(&Config::default());
    for _ in 0..3 {
        let node = session.resolve("hello").unwrap();
        let handle = session.open(node).unwrap();
        assert_eq!(
            session.read(node, handle, 0, 100).unwrap(),
            b"hello, guest\n"
        );
        let base = session.frontend.stop(1).unwrap();
        assert_eq!(base, session.frontend.queues[1].ring.avail_index);
        session.frontend.start(1, base).unwrap();
    }
}
