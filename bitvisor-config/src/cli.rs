//! The command line, shared by `bitvisor-config` and `hv bitvisor`.

use crate::before_kconfig::OldOptions;
use crate::check::{self, Level};
use crate::dotconfig::DotConfig;
use crate::profile::{self, Profile};
use crate::{edit, grub, kconfig, plan};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Reads, applies and checks the configuration of a BitVisor source tree.
#[derive(Debug, Parser)]
#[command(name = "bitvisor-config", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the build options of a tree with their values
    Show {
        /// Folder with the tree's Kconfig
        tree: PathBuf,
        /// Only options whose name or prompt contains this
        filter: Option<String>,
    },
    /// List the profiles, or show what one sets
    Profiles {
        /// Name, or path of a TOML file
        name: Option<String>,
    },
    /// Show what a profile would change in a tree; with --apply change it
    Apply {
        /// Folder with the tree's Kconfig
        tree: PathBuf,
        /// Name of a profile, or path of a TOML file
        #[arg(long, default_value = "lab")]
        profile: String,
        /// Write .config and defconfig; what they were is kept beside them
        #[arg(long, conflicts_with = "dry_run")]
        apply: bool,
        /// Only show the difference (the default)
        #[arg(long)]
        dry_run: bool,
    },
    /// Say what a tree or a finished bitvisor.elf offers a guest (status 0 good, 1 bad)
    Check {
        /// Tree or ELF file
        path: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the menu entry for a PC that has a GRUB of its own
    GrubEntry {
        /// Path of bitvisor.elf on its partition, as GRUB names it
        #[arg(default_value = "/boot/bitvisor.elf")]
        elf: String,
        /// UUID of the file system that holds it
        #[arg(long)]
        uuid: Option<String>,
    },
}

/// Runs and reports; for `main`.
pub fn main(cli: Cli) -> ExitCode {
    match run(&cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bitvisor-config: {error:#}");
            ExitCode::from(4)
        }
    }
}

/// Runs a command; prints on stdout.
///
/// # Errors
/// What stops it, with what to do next.
pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Show { tree, filter } => show(tree, filter.as_deref()).map(|()| ExitCode::SUCCESS),
        Command::Profiles { name } => profiles(name.as_deref()).map(|()| ExitCode::SUCCESS),
        Command::Apply {
            tree,
            profile,
            apply,
            dry_run: _,
        } => apply_profile(tree, profile, *apply),
        Command::Check { path, json } => {
            let report = check::check(path)?;
            if *json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{report}");
            }
            Ok(ExitCode::from(u8::from(report.worst() == Level::Bad)))
        }
        Command::GrubEntry { elf, uuid } => {
            print!("{}", grub::entry(elf, uuid.as_deref()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn load_profile(name: &str) -> Result<Profile> {
    if name.ends_with(".toml") {
        let text = std::fs::read_to_string(name)
            .with_context(|| format!("cannot read the profile {name}"))?;
        return Ok(Profile::parse(name, &text)?);
    }
    Ok(Profile::built_in(name)?)
}

fn show(tree: &Path, filter: Option<&str>) -> Result<()> {
    if let (false, Some(options)) = (tree.join("Kconfig").is_file(), OldOptions::read(tree)) {
        show_old(&options, filter);
        return Ok(());
    }
    let kconfig = check::read_kconfig(tree)?;
    let config =
        DotConfig::parse(&std::fs::read_to_string(tree.join(".config")).unwrap_or_default());
    let filter = filter.map(str::to_lowercase);
    let mut menu: &[String] = &[];
    for symbol in &kconfig.symbols {
        let prompt = symbol.prompt.as_deref().unwrap_or("(no prompt)");
        let shown = filter.as_ref().is_none_or(|filter| {
            symbol.name.to_lowercase().contains(filter) || prompt.to_lowercase().contains(filter)
        });
        if !shown {
            continue;
        }
        if symbol.menu != menu {
            menu = &symbol.menu;
            println!(
                "{}:",
                if menu.is_empty() {
                    "(top)".to_owned()
                } else {
                    menu.join(" / ")
                }
            );
        }
        let value = match (
            symbol.kind,
            plan::effective(&kconfig, &config, &symbol.name),
        ) {
            (kconfig::Kind::Text | kconfig::Kind::Int | kconfig::Kind::Hex, _) => config
                .get(&symbol.name)
                .map_or_else(|| "(default)".to_owned(), |value| value.text()),
            (_, Some(true)) => "y".to_owned(),
            (_, Some(false)) => "n".to_owned(),
            (_, None) => "unknown (shell macro)".to_owned(),
        };
        println!("  {:<24} {value:<4} {}", symbol.name, prompt.escape_debug());
    }
    Ok(())
}

/// A tree from before Kconfig has names and switches only.
fn show_old(options: &OldOptions, filter: Option<&str>) {
    println!("Makefile.config (a tree from before Kconfig):");
    let filter = filter.map(str::to_lowercase);
    for (name, value) in options.iter() {
        if filter
            .as_ref()
            .is_some_and(|filter| !name.to_lowercase().contains(filter))
        {
            continue;
        }
        let value = match value {
            Some(true) => "1",
            Some(false) => "0",
            None => "unknown (make decides)",
        };
        println!("  {name:<24} {value}");
    }
}

fn profiles(name: Option<&str>) -> Result<()> {
    let Some(name) = name else {
        for name in profile::names() {
            println!("{name:<10} {}", Profile::built_in(name)?.description);
        }
        return Ok(());
    };
    let profile = load_profile(name)?;
    println!("{}: {}", profile.name, profile.description);
    for (option, value) in &profile.kconfig {
        println!("  CONFIG_{option} = {}", value.text());
    }
    for (path, setting) in &profile.runtime {
        println!("  .{path} = {}", setting.c_text());
    }
    Ok(())
}

fn apply_profile(tree: &Path, name: &str, write: bool) -> Result<ExitCode> {
    let edit = edit::prepare(tree, &load_profile(name)?)?;
    for option in &edit.plan.lacking {
        println!(
            "this tree has no option CONFIG_{option}: it is older or newer than the profile, or does it always"
        );
    }
    for option in &edit.plan.unknown {
        println!("depends on a shell macro, so the tree's own `make config` decides: {option}");
    }
    for change in &edit.plan.changes {
        if let Some(because) = &change.because {
            println!(
                "CONFIG_{} becomes {} because {because}",
                change.name, change.to
            );
        }
    }
    if edit.made_from_template {
        println!("defconfig does not exist yet: it is made from defconfig.tmpl");
    }
    let changed = edit.config.changes() || edit.defconfig.changes();
    print!("{}{}", edit.config.diff(), edit.defconfig.diff());
    if !edit.plan.conflicts.is_empty() {
        for conflict in &edit.plan.conflicts {
            println!("conflict: {conflict}");
        }
        println!("nothing was written");
        return Ok(ExitCode::from(1));
    }
    match (changed, write) {
        (false, _) => println!("nothing to change: profile {name} holds already"),
        (true, false) => println!("nothing was written; say --apply to write this"),
        (true, true) => {
            for backup in edit::apply(&edit)? {
                println!("kept {}", backup.display());
            }
            println!("written; now build with the tree's own `make`, as its documentation says");
        }
    }
    Ok(ExitCode::SUCCESS)
}
