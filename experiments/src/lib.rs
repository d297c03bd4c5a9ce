//! The host half of the experiments: the catalogue, plans, expectations, results and what is made of them.
//!
//! ```
//! use experiments::{Catalogue, catalogue_folder};
//!
//! let catalogue = Catalogue::load(&catalogue_folder()).unwrap();
//! let item = catalogue.get("hypercall-map").unwrap().plan(1, &[]).unwrap();
//! assert_eq!(item.file, "hypercall-map.rhai");
//! ```

pub mod catalogue;
pub mod compare;
pub mod defects;
pub mod excerpt;
pub mod expectations;
pub mod formats;
pub mod matrix;
pub mod reference;
pub mod report;
pub mod result;
pub mod table;

pub use catalogue::{Catalogue, CatalogueError, Experiment, Mistake};
pub use expectations::{Expectation, Expectations};
pub use result::{Raw, ResultLine, ResultWriter, Run, RunInfo, exit_status, write_run};

use std::path::{Path, PathBuf};

/// The catalogue of this tree.
pub fn catalogue_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("catalogue")
}

/// Labvisor's table of planted defects, of this tree.
pub fn defects_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("labvisor/defects.toml")
}

/// The expectations of this tree.
pub fn expectations_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("expectations")
}
