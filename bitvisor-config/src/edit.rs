//! Applying a profile to a tree: compute both texts, show the difference, write with a backup.

use crate::before_kconfig::OldOptions;
use crate::check::{CheckError, read_kconfig};
use crate::dotconfig::{DotConfig, Value};
use crate::initialiser::{Initialiser, InitialiserError};
use crate::plan::{self, Plan};
use crate::profile::Profile;
use anyhow::{Context, Result};
use similar::TextDiff;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file as it is and as it would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEdit {
    /// Path.
    pub path: PathBuf,
    /// Text now; `None`: it does not exist.
    pub old: Option<String>,
    /// Text it is made from, if it does not exist.
    pub template: Option<String>,
    /// Text wanted.
    pub new: String,
}

impl FileEdit {
    /// Whether anything would change.
    pub fn changes(&self) -> bool {
        self.old.as_deref() != Some(self.new.as_str())
    }

    /// Unified diff.
    pub fn diff(&self) -> String {
        let name = self
            .path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        TextDiff::from_lines(
            self.old
                .as_deref()
                .or(self.template.as_deref())
                .unwrap_or(""),
            &self.new,
        )
        .unified_diff()
        .context_radius(2)
        .header(&format!("{name} (now)"), &format!("{name} (wanted)"))
        .to_string()
    }
}

/// Everything that applying a profile would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeEdit {
    /// `.config`.
    pub config: FileEdit,
    /// `defconfig`.
    pub defconfig: FileEdit,
    /// Reasons, conflicts, what the tree lacks.
    pub plan: Plan,
    /// Runtime settings whose blocks the tree's template lacks: made anew.
    pub made_from_template: bool,
}

/// Works out the edit; writes nothing.
///
/// # Errors
/// An unreadable tree, a Kconfig or defconfig that cannot be parsed, a `.config` of the old format.
pub fn prepare(tree: &Path, profile: &Profile) -> Result<TreeEdit> {
    if let (false, Some(options)) = (tree.join("Kconfig").is_file(), OldOptions::read(tree)) {
        anyhow::bail!("{}", by_hand(tree, &options, profile));
    }
    let kconfig = match read_kconfig(tree) {
        Ok(kconfig) => kconfig,
        Err(CheckError::Read { path, source }) => {
            return Err(source).with_context(|| {
                format!("cannot read {path}; is {} a BitVisor tree?", tree.display())
            });
        }
        Err(other) => return Err(other.into()),
    };
    let config_path = tree.join(".config");
    let old_config = read_optional(&config_path)?;
    let mut config = DotConfig::parse(old_config.as_deref().unwrap_or(""));
    anyhow::ensure!(
        !config.is_old_format(),
        "{} is of a tree from before Kconfig (NAME=0/1 lines): move it away and run the tree's `make config`",
        config_path.display()
    );
    let plan = plan::plan(&kconfig, &config, &profile.kconfig);
    for change in &plan.changes {
        let value = match change.to.as_str() {
            "y" => Value::Bool(true),
            "n" => Value::Bool(false),
            text => Value::Text(text.to_owned()),
        };
        config.set(&change.name, &value);
    }
    let defconfig_path = tree.join("defconfig");
    let old_defconfig = read_optional(&defconfig_path)?;
    let made_from_template = old_defconfig.is_none();
    let base = match &old_defconfig {
        Some(text) => text.clone(),
        None => fs::read_to_string(tree.join("defconfig.tmpl")).with_context(|| {
            format!(
                "{} has neither defconfig nor defconfig.tmpl",
                tree.display()
            )
        })?,
    };
    let mut runtime = Initialiser::parse(&base).context("cannot read the runtime settings")?;
    for (path, setting) in &profile.runtime {
        runtime
            .set(path, setting)
            .map_err(|error: InitialiserError| anyhow::anyhow!("defconfig, .{path}: {error}"))?;
    }
    let new_config = if plan.changes.is_empty() {
        old_config.clone().unwrap_or_default()
    } else {
        config.text()
    };
    Ok(TreeEdit {
        config: FileEdit {
            path: config_path,
            old: old_config,
            template: None,
            new: new_config,
        },
        defconfig: FileEdit {
            path: defconfig_path,
            old: old_defconfig,
            template: made_from_template.then_some(base),
            new: runtime.text().to_owned(),
        },
        plan,
        made_from_template,
    })
}

/// What a person does with a tree from before Kconfig.
fn by_hand(tree: &Path, options: &OldOptions, profile: &Profile) -> String {
    let (lines, lacking) = options.by_hand(profile);
    let mut text = format!(
        "{} is a tree from before Kconfig (July 2024), which this program reads and checks but does not write.\n\
         Set these by its own `make config`, or in .config, for profile {}:\n",
        tree.display(),
        profile.name
    );
    for line in lines {
        text += &format!("  {line}\n");
    }
    if !lacking.is_empty() {
        text += &format!("It has no such options yet: {}\n", lacking.join(", "));
    }
    text += "And in defconfig (a copy of defconfig.tmpl):\n";
    for (path, setting) in &profile.runtime {
        text += &format!("  .{path} = {}\n", setting.c_text());
    }
    text.trim_end().to_owned()
}

fn read_optional(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes the edit: what existed is kept as `NAME.before-hvlab` (the first time) or `NAME.before-hvlab.N`.
/// Returns the backups made.
///
/// # Errors
/// A conflict in the plan, or a file that cannot be written; a file is replaced whole or not at all.
pub fn apply(edit: &TreeEdit) -> Result<Vec<PathBuf>> {
    if let Some(conflict) = edit.plan.conflicts.first() {
        anyhow::bail!("nothing was written: {conflict}");
    }
    let mut backups = Vec::new();
    for file in [&edit.config, &edit.defconfig] {
        if !file.changes() {
            continue;
        }
        if let Some(old) = &file.old {
            backups.push(back_up(&file.path, old)?);
        }
        replace(&file.path, &file.new)?;
    }
    Ok(backups)
}

fn back_up(path: &Path, text: &str) -> Result<PathBuf> {
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    for number in 0..1000 {
        let suffix = if number == 0 {
            String::new()
        } else {
            format!(".{number}")
        };
        let backup = path.with_file_name(format!("{name}.before-hvlab{suffix}"));
        match fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&backup)
        {
            Ok(mut file) => {
                file.write_all(text.as_bytes())
                    .with_context(|| format!("cannot write {}", backup.display()))?;
                return Ok(backup);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot make the backup {}", backup.display()));
            }
        }
    }
    anyhow::bail!(
        "there are a thousand backups of {} already; remove some",
        path.display()
    )
}

fn replace(path: &Path, text: &str) -> Result<()> {
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let new = path.with_file_name(format!(".{name}.new"));
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
