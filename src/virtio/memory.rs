//! A leaf: where addresses that a guest named become raw segments of a
//! [`Destination`] or a [`Payload`].
#![allow(unsafe_code)]

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

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
        let sound = each_slice(memory, address, len, |slice| {
            let base = slice.ptr_guard_mut().as_ptr();
            // SAFETY: `slice` is a checked part of a region of `memory`, which
            // is borrowed for 'm and thus stays mapped. No Rust code holds references
            // to guest memory but `Destination::visit`, for the time of a check.
            unsafe { out.push_raw(base, slice.len()) };
        });
        if !sound {
            return (out, false);
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
        let sound = each_slice(memory, address, usize::try_from(len).ok()?, |slice| {
            let skipped = skip.min(slice.len());
            skip -= skipped;
            let base = slice.ptr_guard().as_ptr().wrapping_add(skipped);
            // SAFETY: the rest of a checked part of a region of `memory`, which is
            // borrowed for 'm and thus stays mapped.
            unsafe { payload.push_raw(base, slice.len() - skipped) };
        });
        if !sound {
            return None;
        }
    }
    Some(payload)
}

/// Gives the parts of a range to `each`, in order, and says whether all of it is
/// there. Most often that is one part, which is found without more ado.
fn each_slice<'m>(
    memory: &'m GuestMemoryMmap,
    address: GuestAddress,
    len: usize,
    mut each: impl FnMut(VolatileSlice<'m>),
) -> bool {
    if let Ok(slice) = memory.get_slice(address, len) {
        each(slice);
        return true;
    }
    for slice in memory.get_slices(address, len) {
        match slice {
            Ok(slice) => each(slice),
            Err(_) => return false,
        }
    }
    true
}
