use super::*;

fn node(nid: u64) -> NodeRef {
    NodeRef { nid, proof: None }
}

#[test]
fn the_last_forget_removes_a_node() {
    let nodes = Nodes::new(node(128));
    assert_eq!(nodes.id(&node(128)), Some(ROOT));
    assert!(nodes.hold(200, (node(200), ROOT), false, Holder::Guest));
    assert!(nodes.hold(200, (node(200), ROOT), false, Holder::Guest));
    nodes.forget(200, 1, Holder::Guest);
    assert!(nodes.get(200).is_some());
    nodes.forget(200, u64::MAX, Holder::Guest);
    assert!(nodes.get(200).is_none());
    nodes.forget(77, 1, Holder::Guest);
    nodes.forget(ROOT, 1, Holder::Guest);
    assert!(nodes.get(ROOT).is_some());
    assert_eq!(nodes.len(), 0);
}

#[test]
fn what_is_held_is_held_again_after_a_crash() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("nodes");
    let begin = || {
        let mut nodes = Nodes::new(node(128));
        let (slots, saved) = Slots::open(&path, RECORD).unwrap();
        nodes.keep(slots, &saved);
        nodes
    };
    let proof = NodeProof {
        digest: Digest([7; 32]),
        record: 4711,
    };
    let proved = NodeRef {
        nid: 300,
        proof: Some(proof),
    };
    let nodes = begin();
    assert!(nodes.hold(200, (node(200), ROOT), true, Holder::Guest));
    assert!(nodes.hold(300, (proved, 200), false, Holder::Guest));
    assert!(nodes.hold(300, (proved, 200), false, Holder::Guest));
    assert!(nodes.hold(400, (node(400), ROOT), false, Holder::Guest));
    nodes.forget(400, 1, Holder::Guest);
    drop(nodes);

    let nodes = begin();
    assert_eq!(nodes.len(), 2);
    let held = nodes.get(300).unwrap();
    assert_eq!((held.node, held.parent), (proved, 200));
    nodes.forget(300, 1, Holder::Guest);
    drop(nodes);
    let nodes = begin();
    assert!(nodes.get(300).is_some());
    nodes.forget(300, 1, Holder::Guest);
    assert!(nodes.get(300).is_none());
    nodes.clear();
    drop(nodes);
    assert!(begin().is_empty());
}

#[test]
fn another_node_under_a_held_id_is_noticed() {
    let nodes = Nodes::new(node(128));
    let proof = NodeProof {
        digest: Default::default(),
        record: 0,
    };
    assert!(nodes.hold(200, (node(200), ROOT), false, Holder::Guest));
    assert!(!nodes.hold(
        200,
        (
            NodeRef {
                nid: 200,
                proof: Some(proof)
            },
            ROOT
        ),
        false,
        Holder::Guest
    ));
}

#[test]
fn a_directory_stands_in_one_place() {
    let nodes = Nodes::new(node(128));
    assert!(nodes.hold(200, (node(200), ROOT), true, Holder::Guest));
    assert!(nodes.hold(200, (node(200), ROOT), true, Holder::Guest));
    assert!(nodes.hold(300, (node(300), 200), true, Holder::Guest));
    for parent in [200, 300] {
        assert!(!nodes.hold(200, (node(200), parent), true, Holder::Guest));
        assert!(!nodes.hold(ROOT, (node(128), parent), true, Holder::Guest));
    }
    assert!(nodes.hold(400, (node(400), 200), false, Holder::Guest));
    assert!(
        nodes.hold(400, (node(400), 300), false, Holder::Guest),
        "a file has many names"
    );
}

#[test]
fn what_the_tree_holds_is_not_the_guests() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("nodes");
    let begin = || {
        let mut nodes = Nodes::new(node(128));
        let (slots, saved) = Slots::open(&path, RECORD).unwrap();
        nodes.keep(slots, &saved);
        nodes
    };
    for _ in 0..2 {
        let nodes = begin();
        assert!(nodes.hold(200, (node(200), ROOT), true, Holder::Tree));
        assert!(nodes.is_empty() && begin().is_empty());
        assert!(nodes.hold(200, (node(200), ROOT), true, Holder::Guest));
        assert_eq!(begin().len(), 1);
        nodes.clear();
        assert!(nodes.get(200).is_some() && nodes.is_empty());
        assert_eq!(begin().len(), 0);
        assert!(nodes.hold(200, (node(200), ROOT), true, Holder::Guest));
        nodes.forget(200, 9, Holder::Guest);
        assert!(nodes.get(200).is_some());
        nodes.forget(200, 1, Holder::Tree);
        assert!(nodes.get(200).is_none());
    }
}
