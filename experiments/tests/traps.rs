//! The table of BitVisor's traps in labvisor's README names tests and experiments: each must exist.

use std::path::Path;

/// The names in the table's last column.
fn names(readme: &str) -> Vec<&str> {
    let table = readme.split("red without the cure |").nth(1).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_end_matches('|').rsplit('|').next().unwrap());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

/// All our Rust source below a folder.
fn read_source(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_symlink() || name == "target" || name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            read_source(&path, all);
        } else if name.ends_with(".rs") {
            *all += &std::fs::read_to_string(&path).unwrap();
        }
    }
}

#[test]
fn each_test_that_the_table_of_traps_names_exists() {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(experiments.join("labvisor/README.md")).unwrap();
    let mut source = String::new();
    read_source(experiments.parent().unwrap(), &mut source);
    let names = names(&readme);
    assert!(names.len() > 15, "the table lost its names: {names:?}");
    for name in names {
        let script = experiments.join(format!("catalogue/{name}.rhai"));
        let there = script.is_file() || source.contains(&format!("fn {name}("));
        assert!(there, "no test and no experiment is called `{name}`");
    }
}
