//! What vouches for an image without a root digest.

use tidegate::chunk::Digest;
use tidegate::image::{Image, Pin};

use crate::rig::Fixture;

#[test]
fn root_is_refused_with_a_word_on_what_to_do() {
    let fixture = Fixture::named("lz4");
    let image = fixture.open();
    assert!(!image.pinned() && image.root_digest().is_none());
    let own = image.root_inode_digest().unwrap();
    let pins = [
        Pin {
            root: Some(own),
            ..Pin::default()
        },
        Pin {
            require: true,
            ..Pin::default()
        },
    ];
    for pin in pins {
        let error = Image::open(&fixture.bootstrap, pin)
            .unwrap_err()
            .to_string();
        assert!(error.contains("--bootstrap-digest"), "{error}");
    }
}

#[test]
fn digest_of_the_file_pins_the_image() {
    let fixture = Fixture::named("lz4");
    let pin = |digest| Pin {
        bootstrap: Some(digest),
        ..Pin::default()
    };
    let image = Image::open(&fixture.bootstrap, pin(fixture.digest())).unwrap();
    assert!(image.pinned());
    let error = Image::open(&fixture.bootstrap, pin(Digest::default())).unwrap_err();
    assert!(error.to_string().contains("is pinned"), "{error}");
}
