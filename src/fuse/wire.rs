//! Wire structs to and from bytes, without unsafe code.

use vm17::ByteValued;

/// The struct that `bytes` begin with, or `None` when they are too few.
pub(super) fn decode<T: ByteValued + Default>(bytes: &[u8]) -> Option<T> {
    let mut value = T::default();
    let room = value.as_mut_slice();
    room.copy_from_slice(bytes.get(..room.len())?);
    Some(value)
}

/// Appends the bytes of a struct.
pub(super) fn encode<T: ByteValued>(to: &mut Vec<u8>, value: &T) {
    to.extend_from_slice(value.as_slice());
}
