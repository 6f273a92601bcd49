//! Layers of archives that are made by hand (`archive`), built into images (`rig`).

mod archive;
mod kept;
mod overlay;
mod reading;
mod rig;
