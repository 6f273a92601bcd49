//! To Debian's docker-registry, and from it.

use serde_json::{Value, json};

use crate::rig::{convert, layout, refused, run, total};
use crate::support::image::noise;
use crate::support::layout::Layout;
use crate::support::servers::available;
use crate::support::servers::registry::{Access, PROGRAMS, Registry, USER};

const PASSWORD: &str = "hunter2-of-the-registry";

/// What the registry has under a name.
fn get(registry: &Registry, path: &str) -> Option<Value> {
    let url = format!("http://{}/v2/{path}", registry.host());
    let accept = "application/vnd.oci.image.manifest.v1+json, \
                  application/vnd.oci.image.index.v1+json";
    let output = std::process::Command::new("curl")
        .args(["-fsS", "-H", &format!("Accept: {accept}"), &url])
        .output()
        .unwrap();
    output
        .status
        .success()
        .then(|| serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn only_what_is_new_is_sent() {
    if !available(PROGRAMS) {
        return;
    }
    let registry = Registry::start(Access::Open, "").unwrap();
    let (mut layout, layers) = layout();
    let name = |tag: &str| format!("{}/team/app:{tag}", registry.host());
    let first = convert(&[&layout.name("v1"), &name("v1")]);
    assert!(total(&first, "uploaded_data_bytes") > 500_000);
    let again = convert(&[&layout.name("v1"), &name("v1")]);
    for sum in [
        "read_bytes",
        "uploaded_data_bytes",
        "uploaded_other_bytes",
        "manifests",
    ] {
        assert_eq!(total(&again, sum), 0, "{sum}");
    }
    assert_eq!(again["target"], first["target"]);

    // A layer more, of which half is in a layer below.
    let content = [noise(1, 300_000), noise(7, 100_000)].concat();
    let layer = layout.layer(&[("more", &content)]).unwrap();
    let mut all = layers.to_vec();
    all.push(layer);
    let image = layout.image("amd64", &all).unwrap();
    layout.tag(&image, "v2").unwrap();
    let small = ["--chunk-size", "4KiB"];
    convert(&[&[&*layout.name("v1"), &name("small")], &small[..]].concat());
    let next = convert(&[&layout.name("v2"), &name("v2")]);
    let (read, sent) = (
        total(&next, "read_bytes"),
        total(&next, "uploaded_data_bytes"),
    );
    assert_eq!(read, all[2].descriptor["size"].as_u64().unwrap());
    assert!((400_000..420_000).contains(&sent), "{sent}");
    let (source, target, dict) = (layout.name("v2"), name("dict"), name("small"));
    let arguments = [&*source, &target, "--chunk-dict", &dict];
    let with_dict = convert(&[&arguments[..], &small].concat());
    let sent = total(&with_dict, "uploaded_data_bytes");
    assert!((90_000..120_000).contains(&sent), "{sent}");

    // Somewhere else it is mounted, and from there on known.
    let other = format!("{}/other:v1", registry.host());
    let mounted = convert(&[&layout.name("v1"), &other, "--mount-from", "team/app"]);
    assert_eq!(total(&mounted, "uploaded_data_bytes"), 0);
    assert!(total(&mounted, "mounted_bytes") > 500_000);
    let known = convert(&[&layout.name("v1"), &other]);
    assert_eq!(total(&known, "read_bytes"), 0);
}

#[test]
fn credentials_are_used_and_not_told() {
    if !available(PROGRAMS) {
        return;
    }
    for access in [Access::Password, Access::TokenForPassword] {
        let registry = Registry::start(access, PASSWORD).unwrap();
        let (layout, _) = layout();
        let name = format!("{}/team/app:v1", registry.host());
        let complaint = refused(&[&layout.name("v1"), &name]);
        assert!(complaint.contains("Cannot authenticate"), "{complaint}");

        use base64::Engine as _;
        let auth = format!("{USER}:{PASSWORD}");
        let auth = base64::engine::general_purpose::STANDARD.encode(auth);
        let config = json!({ "auths": { registry.host(): { "auth": auth } } });
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let file = file.to_str().unwrap();
        for arguments in [
            &[&*layout.name("v1"), &name, "--docker-config", file][..],
            &[
                &name,
                &*layout.name("back"),
                "--to-oci",
                "--docker-config",
                file,
            ],
        ] {
            let output = run(arguments);
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(output.status.success(), "{text}");
            for secret in [PASSWORD, &auth] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
}

#[test]
fn an_artifact_is_found_from_the_original() {
    if !available(PROGRAMS) {
        return;
    }
    let registry = Registry::start(Access::Open, "").unwrap();
    let (layout, _) = layout();
    let name = format!("{}/team/app:v1", registry.host());
    let report = convert(&[&layout.name("v1"), &name, "--referrer"]);
    let source = report["source"]["digest"].as_str().unwrap();
    let tag = format!("team/app/manifests/{}", source.replace(':', "-"));
    let list = get(&registry, &tag).unwrap();
    assert_eq!(list["manifests"][0]["digest"], report["target"]["digest"]);
    let digest = report["target"]["digest"].as_str().unwrap();
    let artifact = get(&registry, &format!("team/app/manifests/{digest}")).unwrap();
    assert_eq!(artifact["subject"]["digest"], source);
    let kind = "application/vnd.nydus.image.manifest.v1+json";
    assert_eq!(
        [
            &artifact["artifactType"],
            &list["manifests"][0]["artifactType"]
        ],
        [kind, kind]
    );
    // The list stays as it is when the same is said again.
    convert(&[&layout.name("v1"), &name, "--referrer"]);
    assert_eq!(get(&registry, &tag).unwrap(), list);
}

/// Copies an image to the registry with another tool.
fn copy(registry: &Registry, source: &str, repository: &str, tag: &str) {
    let target = format!("docker://{}/{repository}:{tag}", registry.host());
    let copied = std::process::Command::new("skopeo")
        .args(["copy", "--quiet", "--dest-tls-verify=false"])
        .args([source, &target])
        .status();
    assert!(copied.unwrap().success());
}

#[test]
fn an_index_is_put_beside_the_unchanged_image() {
    if !available(PROGRAMS) || !available(&["skopeo"]) {
        return;
    }
    let registry = Registry::start(Access::Open, "").unwrap();
    let (layout, layers) = layout();
    copy(&registry, &layout.name("v1"), "team/app", "v1");
    let original = get(&registry, "team/app/manifests/v1").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("index").to_str().unwrap().to_owned();
    let name = format!("{}/team/app:v1", registry.host());
    let report = tidegate(&[
        "index",
        &name,
        "--plain-http",
        "--json",
        "--push",
        "--output",
        &output,
    ]);
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(get(&registry, "team/app/manifests/v1").unwrap(), original);
    assert!(report["totals"]["uploaded_data_bytes"].as_u64() < Some(50_000));

    let subject = report["manifest"].as_str().unwrap();
    let tag = format!("team/app/manifests/{}", subject.replace(':', "-"));
    let list = get(&registry, &tag).unwrap();
    let pushed = list["manifests"][0]["digest"].as_str().unwrap();
    assert_eq!(pushed, report["pushed"]);
    let artifact = get(&registry, &format!("team/app/manifests/{pushed}")).unwrap();
    assert_eq!(artifact["subject"]["digest"], subject);
    let key = "containerd.io/snapshot/nydus-ref";
    let entries = artifact["layers"].as_array().unwrap();
    let of: Vec<_> = entries
        .iter()
        .filter_map(|it| it["annotations"][key].as_str())
        .collect();
    assert_eq!(of, [layers[0].digest(), layers[1].digest()]);

    // Everything that a reader needs is in the repository.
    let config = dir.path().join("config.json");
    let backend = json!({"type": "registry", "config":
        {"scheme": "http", "host": registry.host(), "repo": "team/app"}});
    let text = json!({"device": {"backend": backend}, "mode": "direct"}).to_string();
    std::fs::write(&config, text).unwrap();
    std::fs::remove_dir_all(format!("{output}/blobs")).unwrap();
    let root = report["root"].as_str().unwrap();
    let (config, boot) = (config.to_str().unwrap(), format!("{output}/image.boot"));
    let image = ["--bootstrap", &boot, "--config", config, "--root", root];
    for (path, truth) in [
        ("/etc/kept", noise(1, 300_000)),
        ("/etc/replaced", noise(2, 200_000)),
    ] {
        assert!(
            tidegate(&[&["cat"], &image[..], &[path]].concat()) == truth,
            "{path}"
        );
    }
    // Again, nothing is new.
    let again = tidegate(&[
        "index",
        &name,
        "--plain-http",
        "--json",
        "--push",
        "--output",
        &output,
    ]);
    let again: Value = serde_json::from_slice(&again).unwrap();
    assert_eq!(again["pushed"], report["pushed"]);
    for sum in ["uploaded_data_bytes", "uploaded_other_bytes", "manifests"] {
        assert_eq!(total(&again, sum), 0, "{sum}");
    }
}

/// What a subcommand that must succeed prints.
fn tidegate(arguments: &[&str]) -> Vec<u8> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .env_remove("DOCKER_CONFIG")
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    output.stdout
}

#[test]
fn a_signature_goes_along() {
    if !available(PROGRAMS) || !available(&["skopeo"]) {
        return;
    }
    let registry = Registry::start(Access::Open, "").unwrap();
    let (layout, _) = layout();
    let copy = |source: &str, tag: &str| copy(&registry, source, "original", tag);
    copy(&layout.name("v1"), "v1");
    let source = format!("{}/original:v1", registry.host());
    let target = format!("{}/chunks:v1", registry.host());
    let unsigned = convert(&[&source, &target]);
    assert_eq!(unsigned["signatures"], json!([]));
    let digest = unsigned["source"]["digest"].as_str().unwrap();

    let mut signature = Layout::new().unwrap();
    let layer = signature.layer(&[("payload", b"{}")]).unwrap();
    let image = signature.image("", &[layer]).unwrap();
    signature.tag(&image, "sig").unwrap();
    let tag = format!("{}.sig", digest.replace(':', "-"));
    copy(&signature.name("sig"), &tag);
    let signed = convert(&[&source, &target]);
    assert_eq!(signed["target"]["digest"], unsigned["target"]["digest"]);
    assert_eq!(
        signed["signatures"],
        json!([format!("{}/chunks:{tag}", registry.host())])
    );
    let at = |repository: &str| get(&registry, &format!("{repository}/manifests/{tag}"));
    assert_eq!(at("chunks"), at("original"));
}
