//! Stages over images that are damaged in every way: they end.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::build::options::BuildOptions;
use crate::build::pack::{self, NoDict};
use crate::build::trace::Traced as Named;
use crate::build::{bootstrap, source};
use crate::image::hints::ChunkRun;
use crate::image::{Image, NodeRef, Pin};
use crate::trace::{Line, Trace};

use super::*;

const FILES: u32 = 40;

fn trace() -> Trace {
    let lines = (0..FILES).rev().step_by(3).map(|number| Line {
        position: u64::from(number % 2),
        path: format!("d{}/f{number}", number % 4).into_bytes(),
    });
    Trace {
        lines: lines.collect(),
        ..Trace::default()
    }
}

/// An image of small chunks with a trace, in `dir`.
fn build(dir: &Path) -> std::path::PathBuf {
    let tree = dir.join("tree");
    for number in 0..FILES {
        let path = tree.join(format!("d{}/f{number}", number % 4));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes: Vec<u8> = number.to_le_bytes().repeat(1500);
        fs::write(path, bytes).unwrap();
    }
    let options = BuildOptions {
        chunk_size: 4096,
        threads: 1,
        ..BuildOptions::default()
    };
    let mut tree = source::scan(&tree, dir).unwrap();
    let named = Named::new(&trace(), &tree, options.chunk_size);
    let packed = pack::pack_leading(&mut tree, &NoDict, &options, dir, &named.chunks).unwrap();
    let path = dir.join("image.boot");
    bootstrap::write(&path, &tree, &packed, &options, &named.files).unwrap();
    path
}

/// All that a stage yields.
fn drain(mut stage: impl Stage) -> (Vec<Chunk>, u64) {
    let mut chunks = Vec::new();
    let mut calls = 0;
    while stage.more(&mut chunks) {
        calls += 1;
        assert!(calls < 100_000, "it does not end");
    }
    (chunks, stage.faults())
}

fn stages(image: &Arc<Image>) -> Vec<(Vec<Chunk>, u64)> {
    let own = || Arc::clone(image);
    let root = NodeRef {
        nid: image.root().nid,
        proof: None,
    };
    let mut run = vec![
        drain(Everything::new(own())),
        drain(Files::new(own(), vec![image.root()])),
        drain(Files::new(own(), vec![root])),
        drain(Traced::new(own(), trace())),
    ];
    run.extend(image.trace().map(|runs| drain(Baked::new(own(), runs))));
    run.extend(
        image
            .prefetch_table()
            .map(|nodes| drain(Files::new(own(), nodes))),
    );
    run
}

#[test]
fn every_stage_yields_its_chunks_and_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let image = Arc::new(Image::open(&build(dir.path()), Pin::default()).unwrap());
    let lens: Vec<_> = stages(&image)
        .into_iter()
        .map(|(mut chunks, faults)| {
            chunks.sort_by_key(|chunk| chunk.index);
            chunks.dedup();
            (chunks.len(), faults)
        })
        .collect();
    let traced = FILES.div_ceil(3) as usize;
    let all = 2 * FILES as usize;
    let wanted = [all, all, all, traced, traced, 2 * traced].map(|len| (len, 0));
    assert_eq!(lens, wanted);
}

#[test]
fn stages_over_damaged_images_end_and_name_only_chunks_of_their_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let path = build(dir.path());
    let good = fs::read(&path).unwrap();
    let mut state = 7_u64;
    let mut next = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut opened = 0;
    for _ in 0..400 {
        let mut bad = good.clone();
        for _ in 0..=next(4) {
            // Superblocks, tables and trailer more often than the rest.
            let at = match next(3) {
                0 => 1024 + next(512),
                1 => bad.len() - 1 - next(200),
                _ => next(bad.len()),
            };
            bad[at] = bad[at].wrapping_add(u8::try_from(1 + next(255)).unwrap());
        }
        fs::write(&path, bad).unwrap();
        let Ok(image) = Image::open(&path, Pin::default()) else {
            continue;
        };
        opened += 1;
        let image = Arc::new(image);
        for (chunks, _) in stages(&image) {
            for chunk in chunks {
                let blob = &image.blobs()[usize::from(chunk.blob)];
                assert!(chunk.index < blob.chunks.max(1));
            }
        }
    }
    assert!(opened > 50, "{opened}");
}

#[test]
fn runs_that_lead_out_of_their_blob_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let image = Arc::new(Image::open(&build(dir.path()), Pin::default()).unwrap());
    let run = |blob, first, count| ChunkRun { blob, first, count };
    let all = 2 * FILES;
    let runs = vec![
        run(9, 0, 1),
        run(0, u32::MAX, u32::MAX),
        run(0, all - 1, u32::MAX),
        run(0, 0, 0),
        run(1 << 16, 0, 1),
        run(0, 3, 2),
    ];
    let (chunks, faults) = drain(Baked::new(image, runs));
    let found: Vec<u32> = chunks.iter().map(|chunk| chunk.index).collect();
    assert_eq!((found, faults), (vec![all - 1, 3, 4], 5));
}
