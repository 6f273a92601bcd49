//! A leaf: where addresses that a guest named become raw segments of a
//! [`Destination`] or a [`Payload`].
#![allow(unsafe_code)]

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::destination::Destination;
use crate::payload::Payload;

/// A destination over ranges (address, bytes) of guest memory, in order, and
/// whether all of them are there. It ends before the first byte that is not.
///
/// It borrows `memory`, so the mapping outlives it. Ranges may cross the
/// borders of memory regions, and may overlap.
pub(super) fn destination<'m>(
    memory: &'m GuestMemoryMmap,
    ranges: &[(GuestAddress, u32)],
) -> (Destination<'m>, bool) {
    let mut out = Destination::empty();
    for &(address, len) in ranges {
        let Ok(len) = usize::try_from(len) else {
            return (out, false);
        };
        for slice in memory.get_slices(address, len) {
            let Ok(slice) = slice else {
                return (out, false);
            };
            let base = slice.ptr_guard_mut().as_ptr();
            // SAFETY: `slice` is a checked part of a region of `memory`, which
            // is borrowed for 'm and thus stays mapped. No Rust code holds references
            // to guest memory but `Destination::visit`, for the time of a check.
            unsafe { out.push_raw(base, slice.len()) };
        }
    }
    (out, true)
}

/// The bytes behind the first `skip` of ranges (address, bytes) of guest memory,
/// in order; none when a part of them is not there.
///
/// It borrows `memory`, so the mapping outlives it.
pub(super) fn payload<'m>(
    memory: &'m GuestMemoryMmap,
    ranges: &[(GuestAddress, u32)],
    skip: usize,
) -> Option<Payload<'m>> {
    let mut payload = Payload::default();
    let mut skip = skip;
    for &(address, len) in ranges {
        for slice in memory.get_slices(address, usize::try_from(len).ok()?) {
            let slice = slice.ok()?;
            let skipped = skip.min(slice.len());
            skip -= skipped;
            let base = slice.ptr_guard().as_ptr().wrapping_add(skipped);
            // SAFETY: the rest of a checked part of a region of `memory`, which is
            // borrowed for 'm and thus stays mapped.
            unsafe { payload.push_raw(base, slice.len() - skipped) };
        }
    }
    Some(payload)
}
