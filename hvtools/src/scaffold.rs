//! `hv new`: the beginning of an experiment or of a planted defect, to be filled in.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use engine::head::GROUPS;
use experiments::{catalogue_folder, defects, defects_file, reference};
use harness::Outcome;

/// What to begin.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A script in experiments/catalogue that runs as it is.
    Experiment {
        /// Its id: a-z, 0-9 and `-`.
        name: String,
        /// Its group.
        #[arg(long, default_value = "hypercall")]
        group: String,
    },
    /// A row in experiments/labvisor/defects.toml; what is left to write is said.
    Defect {
        /// Its id: a-z, 0-9 and `-`.
        id: String,
        /// Its group.
        #[arg(long, default_value = "hypercall")]
        group: String,
        /// The experiment that must catch it.
        #[arg(long, value_name = "EXPERIMENT")]
        caught_by: String,
    },
}

/// Begins it.
///
/// # Errors
/// When the name is taken or wrong, or the file cannot be written.
pub fn run(command: &Command) -> Result<Outcome> {
    match command {
        Command::Experiment { name, group } => {
            let path = reference::new_experiment(&catalogue_folder(), name, group)
                .with_context(|| format!("cannot begin the experiment `{name}`"))?;
            println!("{}", path.display());
            println!("try it: cargo hv experiments check; cargo hv run --only {name}");
            println!(
                "then a defect that it must catch, and `cargo test -p experiments`: cargo hv new defect ID --group {group} --caught-by {name}"
            );
        }
        Command::Defect {
            id,
            group,
            caught_by,
        } => {
            let file = defects_file();
            let old = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let taken = defects::load(&file)?.iter().any(|one| &one.id == id);
            ensure!(!taken, "there is a planted defect `{id}` already");
            let new = with_defect(&old, id, group, caught_by)?;
            std::fs::write(&file, new)
                .with_context(|| format!("cannot write {}", file.display()))?;
            println!("{}: a row `{id}` to fill in", file.display());
            println!(
                "then, in a handler of experiments/labvisor/src/exits: if defects::planted(Defect::{}) {{ ... }}",
                variant(id)
            );
            println!(
                "and a check of it (CHECKS in checks.rs or virtio.rs of experiments/labvisor/src/exits/tests), cargo test -p labvisor; see it caught: cargo hv matrix {id}"
            );
        }
    }
    Ok(Outcome::AsExpected)
}

/// The variant that labvisor's build script makes of an id.
fn variant(id: &str) -> String {
    let words = id.split('-').filter(|word| !word.is_empty());
    words
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}

/// The table with a new row behind the last defect of its group.
fn with_defect(table: &str, id: &str, group: &str, caught_by: &str) -> Result<String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        !id.is_empty() && id.chars().all(good) && !id.starts_with('-'),
        "`{id}`: an id has a-z, 0-9 and `-` only"
    );
    if !GROUPS.contains(&group) {
        bail!("group `{group}` is none of {}", GROUPS.join(", "));
    }
    let wanted = format!("group = \"{group}\"");
    let blocks: Vec<&str> = table.split("\n\n").collect();
    let last = blocks
        .iter()
        .rposition(|block| block.contains("[[defect]]") && block.contains(&wanted))
        .with_context(|| format!("the table has no defect of the group `{group}` yet"))?;
    let mut out = String::new();
    for (at, block) in blocks.iter().enumerate() {
        if at > 0 {
            out.push_str("\n\n");
        }
        out.push_str(block);
        if at == last {
            let end = if block.ends_with('\n') { "\n" } else { "\n\n" };
            let _ = write!(
                out,
                "{end}[[defect]]\nid = \"{id}\"\n{wanted}\ntitle = \"what labvisor does wrong\"\n\
                 real = \"what a real bug of this kind was\"\ncaught_by = [\"{caught_by}\"]\nverdict = \"FAIL\"\n\
                 contains = \"what the finding must say\""
            );
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_row_stands_in_its_group_and_the_table_stays_sound() {
        let old = std::fs::read_to_string(defects_file()).unwrap();
        for group in GROUPS {
            let new = with_defect(&old, "my-first", group, "hypercall-map").unwrap();
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("defects.toml");
            std::fs::write(&file, &new).unwrap();
            let before = defects::load(&defects_file()).unwrap();
            let table = defects::load(&file).unwrap();
            assert_eq!(table.len(), before.len() + 1);
            let at = table.iter().position(|one| one.id == "my-first").unwrap();
            assert_eq!(
                (table[at].group.as_str(), table[at - 1].group.as_str()),
                (group, group)
            );
        }
        assert!(with_defect(&old, "My", "time", "x").is_err());
        assert!(with_defect(&old, "x", "nonsense", "x").is_err());
        assert_eq!(variant("my-first"), "MyFirst");
    }
}
