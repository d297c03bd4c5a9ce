//! The reference page of the script API, generated from the code, and the scaffold of a new experiment.

use engine::{asm, fake::Fake, head::GROUPS};
use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

/// The page in Markdown: every function with an example that a test runs.
pub fn page() -> String {
    let entries = engine::reference(Box::new(Fake::labvisor())).expect("the fake machine answers");
    let mut out = String::from(
        "# Script API of the experiments\n\n\
         Generated from `experiments/engine/src/api`; `HVLAB_BLESS=1 cargo test -p experiments` renews it.\n\
         A script is Rhai without floating point. Integers are 64-bit patterns: signed for the operators, unsigned in the\n\
         functions under Numbers. `import \"lib/virtio\" as virtio;` reads `catalogue/lib/virtio.rhai`.\n",
    );
    let mut section = "";
    for entry in &entries {
        if entry.section != section {
            section = entry.section;
            out.push_str(&format!("\n## {section}\n"));
        }
        out.push_str(&format!("\n**`{}`** {}\n", entry.signature, entry.text));
        out.push_str(&format!("\n```rust\n{}\n```\n", entry.example));
    }
    out.push_str("\n## Instructions of the assembler\n\n");
    let words: Vec<String> = asm::mnemonics()
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    out.push_str(&words.join(" "));
    out.push('\n');
    out
}

/// Writes a new experiment to fill in; never over an existing one.
///
/// # Errors
/// A bad id, an unknown group, or a file that exists.
pub fn new_experiment(catalogue: &Path, id: &str, group: &str) -> io::Result<PathBuf> {
    let refuse = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    if id.is_empty()
        || !id
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        return Err(refuse(format!("`{id}`: an id has a-z, 0-9 and `-` only")));
    }
    if !GROUPS.contains(&group) {
        return Err(refuse(format!(
            "group `{group}` is none of {}",
            GROUPS.join(", ")
        )));
    }
    let path = catalogue.join(format!("{id}.rhai"));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)?;
    write!(
        file,
        "//! title: One line for lists\n//! group: {group}\n\
         //! claim: What a sound hypervisor guarantees.\n\
         //! mechanism: How this experiment looks.\n\
         //! sound: What a sound hypervisor shows.\n\
         //! weak: What a weak one shows.\n\
         //! cannot_tell: What looks alike.\n\
         //! risk: safe\n\
         //! param: count int 10 in 1..1000 | how often\n\
         //! without_hypervisor: run\n\
         //! time_limit: 20 s\n\
         //! source: manual, section; source file; advisory\n\n\
         // All functions: experiments/REFERENCE.md. Try it: hv experiments check, hv run --only {id}\n\
         for round in 0..param(\"count\") {{\n    \
         let reply = cpuid(0);\n    \
         expect_no_fault(\"CPUID leaf 0\", reply);\n    \
         expect(\"there is a basic leaf\", reply.rax > 0);\n\
         }}\n\
         pass(\"it holds\");\n"
    )?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_tree_is_that_of_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("REFERENCE.md");
        if std::env::var_os("HVLAB_BLESS").is_some() {
            fs::write(&path, page()).unwrap();
        }
        let old = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            old == page(),
            "run with HVLAB_BLESS=1 to renew experiments/REFERENCE.md"
        );
    }

    #[test]
    fn a_scaffold_passes_the_check_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        new_experiment(folder.path(), "my-first", "memory").unwrap();
        let catalogue = crate::Catalogue::load(folder.path()).unwrap();
        assert_eq!(catalogue.check(), []);
        assert_eq!(
            catalogue.experiments[0]
                .dry_run(folder.path(), true)
                .verdict
                .word(),
            "PASS"
        );
        assert!(new_experiment(folder.path(), "my-first", "memory").is_err());
        assert!(new_experiment(folder.path(), "../x", "memory").is_err());
        assert!(new_experiment(folder.path(), "x", "nonsense").is_err());
    }
}
