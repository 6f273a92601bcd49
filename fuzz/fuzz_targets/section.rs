//! Damages the bootstrap of an image whose root digest is pinned. Whatever is
//! still served without an error must be the truth: no other attribute, xattr,
//! link target or content, no name added, none hidden.
//!
//! Errors are fine; panics, hangs, unbounded memory and wrong answers are bugs.
//!
//! Input: a byte that chooses one of two images, then the list of damages (see
//! `Patched::damage`).
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use tidegate::fs::walk::{self, WalkError};
use tidegate::image::Image;
use tidegate_fuzz::bench::Bench;
use tidegate_fuzz::images::Seen;
use tidegate_fuzz::input::Input;
use tidegate_fuzz::look::{look, read, see};
use tidegate_fuzz::patch::Patched;

struct Subject {
    bench: Bench,
    file: Patched,
    truth: BTreeMap<Vec<u8>, Seen>,
    contents: BTreeMap<Vec<u8>, Vec<u8>>,
}

thread_local! {
    static SUBJECTS: RefCell<[Subject; 2]> =
        RefCell::new([Subject::new(Bench::small()), Subject::new(Bench::wide())]);
}

impl Subject {
    fn new(bench: Bench) -> Self {
        let image = bench.built.open();
        let sight = look(&image);
        assert!(sight.faults == 0 && !sight.cut);
        let by_node = bench.contents();
        let mut contents = BTreeMap::new();
        for path in sight.found.keys() {
            let node = walk::find(&image, path).unwrap();
            if let Some(bytes) = by_node.get(&node.nid) {
                contents.insert(path.clone(), bytes.clone());
            }
        }
        Self {
            file: Patched::new(bench.bootstrap()),
            truth: sight.found,
            contents,
            bench,
        }
    }

    fn run(&mut self, mut input: Input<'_>) {
        self.file.damage(&mut input);
        if let Ok(image) = Image::open(&self.file.path(), self.bench.built.pin()) {
            self.check(&image);
        }
        self.file.mend();
    }

    fn check(&self, image: &Image) {
        let sight = look(image);
        assert!(!sight.cut, "names appear");
        for (path, seen) in &sight.found {
            let name = walk::show(path);
            let Some(right) = self.truth.get(path) else {
                panic!("{name} appears");
            };
            assert_eq!(seen.visible(), right.visible(), "{name} changed");
            if seen.chunks != right.chunks {
                self.check_bytes(image, path);
            }
        }
        let missing = self.truth.len() - sight.found.len();
        assert!(missing == 0 || sight.faults > 0, "a name vanishes");
        // Looking names up takes other ways than listing.
        let step = 1 + self.truth.len() / 12;
        for path in self.truth.keys().step_by(step) {
            match walk::find(image, path) {
                Ok(node) => {
                    let seen = see(image, &node);
                    let visible = seen.as_ref().map(Seen::visible);
                    assert!(visible.is_none_or(|it| it == self.truth[path].visible()));
                }
                Err(WalkError::NotFound { path }) => panic!("{path} is hidden"),
                Err(_) => {}
            }
            let other = [path.as_slice(), b"x"].concat();
            assert!(walk::find(image, &other).is_err(), "a name appears");
        }
    }

    /// A chunk that lies elsewhere now must give the right bytes or an error.
    fn check_bytes(&self, image: &Image, path: &[u8]) {
        let Some(store) = self.bench.store(image) else {
            return;
        };
        let node = walk::find(image, path).unwrap();
        if let Some(bytes) = read(image, &store, &node) {
            assert!(bytes == self.contents[path], "other bytes");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let which = usize::from(input.u8() & 1);
    SUBJECTS.with_borrow_mut(|subjects| subjects[which].run(input));
});
