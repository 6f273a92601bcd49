//! Tidegate serves container images to microVMs over virtio-fs: lazily, and
//! proved on every access.
//!
//! The map of the house. Dependencies point right and down only:
//!
//! ```text
//! virtio  ──┐
//! fusedev ──┴► fuse ─► fs ─┬► image   (metadata: who, where, digest)
//!                          └► store ─► backend   (chunks: cache ─► fetch)
//! cli ─► all of the above, and build
//! ```
//!
//! * [`chunk`], [`extent`], [`records`], [`destination`] and [`payload`] are the
//!   vocabulary that several modules share: what a chunk is, what several chunks
//!   may be stored in, what is beside a chunk, where a read puts its bytes, and
//!   where a write takes them from.
//! * [`image`] reads bootstraps (RAFS v5, v6) and proves nodes against the root
//!   digest.
//! * [`store`] turns a chunk into proved bytes: cache, tags, fetch, repair.
//! * [`backend`] is where blobs live.
//! * [`fs`] is the file system over an image and a store, the one over a directory
//!   of the host, and the tree that holds both.
//! * [`fuse`] decodes requests, asks [`fs`], encodes replies.
//! * [`prefetch`] fetches ahead what a guest will need, and records what it
//!   needed.
//! * [`trace`] is what was read first, as text.
//! * [`virtio`] and [`fusedev`] carry FUSE messages to and from a guest or the
//!   host's kernel.
//! * [`sandbox`] takes from each thread what it does not need.
//! * [`state`] is what outlives the process.
//! * [`attach`] makes mounts out of requests of the API.
//! * [`bounded_cache`], [`core_dumps`], [`error_chain`], [`inherited`],
//!   [`log_limit`], [`path_text`], [`runtime`], [`socket`], [`threads`] and [`version`]
//!   are small services for all of them.
//! * [`cipher`] decrypts; [`inflate`] enters compressed streams in their middle.
//! * [`build`] makes images from directories and tar archives.
//! * [`oci`] reads and writes OCI images: layouts, archives, registries.
//! * [`convert`] makes images of chunks of OCI images, and back.
//! * [`unpack`] restores trees from images.
//! * [`config`] reads configuration files: nydusd's and our own.
//! * [`control`] is the HTTP API of a running daemon, with its metrics.
//! * [`cli`] is one file per subcommand.

pub mod attach;
pub mod backend;
pub mod bounded_cache;
pub mod build;
pub mod chunk;
pub mod cipher;
pub mod cli;
pub mod config;
pub mod control;
pub mod convert;
pub mod core_dumps;
pub mod destination;
pub mod error_chain;
pub mod extent;
pub mod fs;
pub mod fuse;
pub mod fusedev;
pub mod image;
pub mod inflate;
pub mod inherited;
pub mod log_limit;
pub mod oci;
pub mod path_text;
pub mod payload;
pub mod prefetch;
pub mod records;
pub mod runtime;
pub mod sandbox;
pub mod socket;
pub mod state;
pub mod store;
pub mod threads;
pub mod trace;
pub mod unpack;
pub mod version;
pub mod virtio;
