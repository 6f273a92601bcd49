//! The chunk store: turns a chunk into proved bytes.
