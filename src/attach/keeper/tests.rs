use super::*;

fn entry(number: u32) -> Entry {
    Entry {
        number,
        path: "/a".to_owned(),
        image: true,
        request: None,
        root: None,
        bootstrap: None,
    }
}

/// Requests of the API may be under way when a daemon is told to end.
#[test]
fn nothing_is_left_by_a_daemon_that_ends() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state");
    let (keeper, found) = Keeper::new(StateDir::open(&path).unwrap()).unwrap();
    assert!(found.is_none());
    keeper.change(|whole| whole.begun = true).unwrap();
    keeper.add(&entry(2)).unwrap();
    keeper.close();
    assert!(keeper.add(&entry(3)).is_err());
    keeper.change(|whole| whole.restored = 1).unwrap();
    assert!(keeper.incoming().is_err());
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    drop(keeper);
    let (_, found) = Keeper::new(StateDir::open(&path).unwrap()).unwrap();
    assert!(found.is_none(), "the next one would go on from there");
}
