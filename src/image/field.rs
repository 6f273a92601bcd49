//! Fields that do not fit, by name and offset.

/// A field that does not fit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} at offset {at:#x}: {why}")]
pub struct BadField {
    /// Name of the field.
    pub field: &'static str,
    /// Where it is in the bootstrap, in bytes.
    pub at: u64,
    /// What is wrong with it.
    pub why: String,
}

impl BadField {
    /// The field called `field` at offset `at` is wrong as `why` says.
    pub fn new(field: &'static str, at: u64, why: impl Into<String>) -> Self {
        Self {
            field,
            at,
            why: why.into(),
        }
    }
}

/// A table that a superblock names: what the field with its offset is called and
/// where that is, then the table's offset and length.
pub type Place = (&'static str, u64, (u64, u64));

/// Refuses tables that are not behind `taken`, not inside a bootstrap of `len`
/// bytes, or inside each other. Empty tables may be anywhere.
///
/// # Errors
/// Names the field.
pub fn check_places(mut places: Vec<Place>, mut taken: u64, len: u64) -> Result<(), BadField> {
    places.retain(|(_, _, (_, bytes))| *bytes != 0);
    places.sort_by_key(|(_, _, (start, _))| *start);
    for (field, at, (start, bytes)) in places {
        let bad = |why: String| Err(BadField::new(field, at, why));
        if start < taken {
            return bad(format!("{start} is inside what ends at {taken}"));
        }
        match start.checked_add(bytes).filter(|&end| end <= len) {
            Some(end) => taken = end,
            None => return bad(format!("{bytes} bytes at {start} of a file of {len}")),
        }
    }
    Ok(())
}
