//! Reads and serves images whose chunks lie in tables inside the blob, with
//! those tables damaged: batches, indexed gzip layers, encrypted blobs, tables
//! of contents.
//!
//! Errors are fine; panics, hangs and unbounded memory are bugs.
//!
//! Input: a byte that says which image (bits 0-2), whether the bootstrap is
//! damaged too (bit 3); then a list of damages to do to the tables (see
//! `Patched::damage`), with bit 3 half of the input for the bootstrap.
//!
//! The first run of a form and every 64th is walked and served as well, whatever
//! its input: see the target `rafs5`.
//!
//! Tables that are stored compressed are stored anew as they are, so that
//! damage reaches what they say.
#![no_main]

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tidegate::backend::directory::DirectoryBackend;
use tidegate::backend::sources::Sources;
use tidegate::extent::StoredTables;
use tidegate::image::{Image, Pin};
use tidegate::records::ChunkRecords;
use tidegate::store::{Store, StoreConfig};
use tidegate_fuzz::input::Input;
use tidegate_fuzz::look::{look, serve};
use tidegate_fuzz::patch::Patched;

/// Bytes of the header behind a table.
const HEADER: usize = 4096;

/// Runs from one that is served to the next.
const SERVED: u64 = 64;

/// An image on disk, in pieces that can be damaged.
struct Form {
    bootstrap: Patched,
    tables: Patched,
    /// Where the table starts in its blob, and the blob's path.
    table_at: usize,
    blob: std::path::PathBuf,
    home: TempDir,
    image: Arc<Image>,
    runs: u64,
}

thread_local! {
    static FORMS: RefCell<Vec<Form>> = RefCell::new(
        ["batch", "zran", "encrypted", "toc"].map(Form::new).into(),
    );
}

fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    let mut number = [0; 8];
    number[..len].copy_from_slice(&bytes[at..at + len]);
    usize::try_from(u64::from_le_bytes(number)).unwrap()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

impl Form {
    fn new(name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/v6");
        let mut bootstrap = fs::read(data.join(name).join("bootstrap")).unwrap();
        for blob in fs::read_dir(data.join(name).join("blobs")).unwrap() {
            let blob = blob.unwrap();
            fs::copy(blob.path(), home.path().join(blob.file_name())).unwrap();
        }
        let entry = number(&bootstrap, 1160, 8);
        let separate = bootstrap[entry + 84] & 0x10 != 0;
        let encrypted = bootstrap[entry + 85] & 1 != 0;
        let id = if separate {
            bootstrap[entry + 168..entry + 200]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        } else {
            String::from_utf8(bootstrap[entry..entry + 64].to_vec()).unwrap()
        };
        let blob = home.path().join(id);
        let mut stored = fs::read(&blob).unwrap();
        let mut table_at = number(&bootstrap, entry + 112, 8);
        let len = number(&bootstrap, entry + 120, 8);
        let raw = number(&bootstrap, entry + 128, 8);
        if number(&bootstrap, entry + 108, 4) == 3 && !encrypted {
            let table = zstd::bulk::decompress(&stored[table_at..table_at + len], raw).unwrap();
            let mut header = stored[table_at + len..table_at + len + HEADER].to_vec();
            let at = stored.len() as u64;
            let size = table.len() as u64;
            put(&mut header, 8, &0u32.to_le_bytes());
            put(&mut header, 16, &at.to_le_bytes());
            put(&mut header, 24, &size.to_le_bytes());
            stored.extend(table);
            stored.extend(header);
            table_at = usize::try_from(at).unwrap();
            put(&mut bootstrap, entry + 108, &0u32.to_le_bytes());
            put(&mut bootstrap, entry + 112, &at.to_le_bytes());
            put(&mut bootstrap, entry + 120, &size.to_le_bytes());
            // The table of contents is of the other table.
            put(&mut bootstrap, entry + 104, &[0; 4]);
            put(&mut bootstrap, entry + 136, &[0; 32]);
            let place = if separate { 200 } else { 88 };
            let whole = stored.len() as u64;
            put(&mut bootstrap, entry + place, &whole.to_le_bytes());
        }
        let bootstrap = Patched::new(bootstrap);
        let image = Arc::new(Image::open(&bootstrap.path(), Pin::default()).unwrap());
        let form = Self {
            bootstrap,
            tables: Patched::at(&blob, stored, table_at),
            table_at,
            blob,
            home,
            image,
            runs: 0,
        };
        if matches!(name, "batch" | "zran") {
            let known = form.read_tables(&form.image);
            assert!(known, "the tables of {name} are not read at all");
        }
        form
    }

    fn run(&mut self, how: u8, mut input: Input<'_>) {
        let mut image = Some(Arc::clone(&self.image));
        if how & 8 != 0 {
            let half = input.bytes(input.0.len() / 2);
            self.bootstrap.damage(&mut Input(half));
            image = Image::open(&self.bootstrap.path(), Pin::default())
                .ok()
                .map(Arc::new);
        }
        self.tables.damage(&mut input);
        if let Some(image) = image {
            self.read_tables(&image);
            if self.runs.is_multiple_of(SERVED) {
                look(&image);
                self.serve(image);
            }
        }
        self.tables.mend();
        self.bootstrap.mend();
        self.runs += 1;
    }

    /// What the store does with the tables, without one. Whether they fit.
    fn read_tables(&self, image: &Image) -> bool {
        let blob = fs::read(&self.blob).unwrap();
        let stored = StoredTables {
            info: blob.get(self.table_at..).unwrap_or_default(),
            toc: None,
        };
        let Ok(extents) = image.extents(0, &stored) else {
            return false;
        };
        assert!(extents.memory() < 256 << 20);
        for chunk in 0..2000 {
            let Some((extent, at)) = extents.find(chunk) else {
                continue;
            };
            assert!(at < extent.raw as usize, "a chunk behind its extent");
            assert!(extents.members(extent).contains(&chunk));
        }
        true
    }

    fn serve(&self, image: Arc<Image>) {
        let backend = Arc::new(DirectoryBackend::new(self.home.path().into()));
        let config = StoreConfig {
            // Made anew thousands of times, and not to be waited for.
            tag_budget: 256 << 10,
            deadline: Duration::from_millis(5),
            ..StoreConfig::default()
        };
        let (blobs, records) = (image.blobs().to_vec(), Arc::clone(&image));
        if let Ok(store) = Store::open_with(config, Sources::single(backend), blobs, records) {
            serve(image, store);
        }
    }
}

fuzz_target!(|data: &[u8]| FORMS.with_borrow_mut(|forms| {
    let mut input = Input(data);
    let how = input.u8();
    let count = forms.len();
    forms[usize::from(how & 7) % count].run(how, input);
}));
