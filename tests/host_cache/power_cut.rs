//! Rewrites a cache's files as a power cut may leave them: of what was written
//! since the last sync, each page may be there, be missing, or be torn.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::rig::Dice;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// The files of a cache at a moment.
pub(crate) type Before = BTreeMap<PathBuf, Vec<u8>>;

/// What is on the disk for sure: all that was written until now.
pub(crate) fn synced(dir: &Path) -> Before {
    let files = fs::read_dir(dir).into_iter().flatten();
    let paths = files.map(|entry| entry.unwrap().path());
    paths
        .filter_map(|path| Some((path.clone(), fs::read(&path).ok()?)))
        .collect()
}

/// Cuts the power; returns what became of each file.
pub(crate) fn cut(dir: &Path, before: &Before, dice: &mut Dice) -> Vec<String> {
    let mut said = vec![];
    for (path, now) in synced(dir) {
        let old = before.get(&path).map_or(&[][..], Vec::as_slice);
        let (what, after) = fate(old, &now, dice);
        let name = path.file_name().unwrap().to_string_lossy();
        let ending = name.rsplit('.').next().unwrap_or_default();
        said.push(format!("{ending} {what}"));
        match after {
            Some(after) if after != now => fs::write(&path, after).unwrap(),
            Some(_) => {}
            None => fs::remove_file(&path).unwrap(),
        }
    }
    said
}

fn fate(old: &[u8], now: &[u8], dice: &mut Dice) -> (&'static str, Option<Vec<u8>>) {
    match dice.below(10) {
        0..2 => ("kept", Some(now.to_vec())),
        2 => ("lost", Some(old.to_vec())),
        3 => ("removed", None),
        4 => {
            let len = dice.place(now.len() + 1);
            ("cut short", Some(now[..len].to_vec()))
        }
        5 => {
            // The length got there, the data did not.
            let mut after = now.to_vec();
            let from = old.len().min(after.len());
            after[from..].fill(0);
            ("grown with zeros", Some(after))
        }
        _ => ("torn", Some(tear(old, now, dice))),
    }
}

fn tear(old: &[u8], now: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut after = now.to_vec();
    let old = |range: std::ops::Range<usize>| {
        let mut bytes = vec![0; range.len()];
        let there = old.len().clamp(range.start, range.end) - range.start;
        bytes[..there].copy_from_slice(&old[range.start..range.start + there]);
        bytes
    };
    for start in (0..after.len()).step_by(PAGE) {
        let end = (start + PAGE).min(after.len());
        match dice.below(4) {
            0 => after[start..end].copy_from_slice(&old(start..end)),
            1 => {
                let torn = (start + SECTOR * dice.place(8)).min(end);
                after[torn..end].copy_from_slice(&old(torn..end));
            }
            _ => {}
        }
    }
    after
}
