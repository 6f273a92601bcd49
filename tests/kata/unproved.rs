//! Images of which not everything can be proved, by the host's policy.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::clients::Client;
use crate::rig::{api, assert_done, body, start};
use crate::support::frontend::Config;

/// An image over an unchanged tar, whose data has no digests.
#[test]
fn only_the_host_allows_what_nobody_can_prove() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v6/tarfs");
    let home = tempfile::tempdir().unwrap();
    let loose = home.path().join("loose.json");
    let text = json!({"require": false, "allow_unverified": true});
    fs::write(&loose, text.to_string()).unwrap();
    let tight = home.path().join("tight.json");
    fs::write(&tight, json!({"require": false}).to_string()).unwrap();
    for (policy, status) in [(None, 500), (Some(&tight), 500), (Some(&loose), 204)] {
        let more = policy.map(|path| ["--policy", path.to_str().unwrap()]);
        let daemon = start(more.as_ref().map_or(&[][..], |more| more));
        let config = json!({
            "device": {
                "backend": {"type": "localfs", "config": {"dir": data.join("blobs")}},
                "cache": {"type": "blobcache", "config": {"work_dir": daemon.work().join("cache")}},
            },
            "mode": "direct",
            // Whoever asks for the mount cannot allow it.
            "policy": loose,
        });
        let text = body(&data.join("bootstrap"), &config);
        let answer = Client::Go.mount(&api(&daemon), "/a", &text);
        assert_eq!(answer.status, status, "{policy:?}: {answer:?}");
        if status == 204 {
            let mut guest = daemon.mount(&Config::default()).unwrap();
            let root = guest.resolve("/a").unwrap();
            let files = guest.list(root, true).unwrap();
            assert!(files.len() > 3);
            assert_done(&Client::Go.unmount(&api(&daemon), "/a"));
        } else {
            assert!(answer.message().contains("allow_unverified"), "{answer:?}");
        }
    }
}
