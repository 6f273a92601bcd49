//! Hints for the section: the chunks that are needed first, and the chunks
//! that the image uses of blobs that it shares with others.

use crate::build::bootstrap::chunk_of;
use crate::build::bootstrap::order::Order;
use crate::build::pack::Packed;
use crate::build::tree::{Content, Tree};
use crate::image::hints::{ChunkRun, HintPlaces};

/// Appends the hints with `append`, which returns the offset in the section.
pub(super) fn write(
    tree: &Tree,
    order: &Order,
    packed: &Packed,
    mut append: impl FnMut(&[u8]) -> u64,
) -> HintPlaces {
    let mut places = HintPlaces::default();
    if !packed.leading.is_empty() {
        places.trace = append(&ChunkRun::encode_all(&packed.leading));
    }
    // Of blobs that were made for it alone an image uses every chunk.
    let used = used(tree, order, packed);
    if used.iter().any(Option::is_some) || packed.blobs.iter().any(|blob| blob.dict) {
        let offsets: Vec<u8> = used
            .iter()
            .flat_map(|map| map.as_ref().map_or(0, |map| append(map)).to_le_bytes())
            .collect();
        places.used = append(&offsets);
    }
    places
}

/// For each blob a map of the chunks that are used; none if that is all.
fn used(tree: &Tree, order: &Order, packed: &Packed) -> Vec<Option<Vec<u8>>> {
    let map = |chunks: u32| vec![0; chunks.div_ceil(8) as usize];
    let mut maps: Vec<Vec<u8>> = packed.blobs.iter().map(|blob| map(blob.chunks)).collect();
    for &node in &order.nodes {
        let Content::File(file) = &tree.nodes[node].content else {
            continue;
        };
        for &reference in &file.chunks {
            let chunk = chunk_of(&packed.chunks, reference);
            maps[usize::from(chunk.blob)][chunk.index as usize / 8] |= 1 << (chunk.index % 8);
        }
    }
    let whole = |map: &Vec<u8>, chunks: u32| {
        map.iter().map(|byte| byte.count_ones()).sum::<u32>() == chunks
    };
    maps.into_iter()
        .zip(&packed.blobs)
        .map(|(map, blob)| (!whole(&map, blob.chunks)).then_some(map))
        .collect()
}
