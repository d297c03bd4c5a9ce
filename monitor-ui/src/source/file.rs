//! Reads a run folder, a boot's folder or one of their files, as if a server told of them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::server::machine_number;
use super::{Ended, Sink};
use crate::feed::{Feed, FileEvent, Link, Place, RunFile};

/// Bytes of one feed.
const PIECE: usize = 64 * 1024;

/// What a path holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The run's id: the folder's name.
    pub run: String,
    /// Boots in it.
    pub machines: Vec<u32>,
    /// Files in it.
    pub files: Vec<(Place, PathBuf)>,
}

/// Looks what a path holds.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn find(path: &Path) -> Result<Found, String> {
    let here = path
        .canonicalize()
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if here.is_dir() {
        find_in_folder(&here)
    } else {
        find_one(&here)
    }
}

fn name(path: Option<&Path>) -> String {
    let name = path.and_then(Path::file_name);
    name.map_or_else(
        || "run".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn find_one(path: &Path) -> Result<Found, String> {
    let own = name(Some(path));
    let known = RunFile::OF_RUN.iter().chain(&RunFile::OF_BOOT);
    let by_name = known.into_iter().find(|file| file.name() == own);
    let by_ending = || match path.extension()?.to_str()? {
        "hvt" => Some(RunFile::Trace),
        "hvv" => Some(RunFile::Verdicts),
        "log" => Some(RunFile::VmmLog),
        _ => None,
    };
    let file = by_name.copied().or_else(by_ending).ok_or_else(|| {
        format!(
            "{} is no file of a run: expected a run folder, *.hvt, *.hvv or *.log",
            path.display()
        )
    })?;
    let parent = path.parent();
    let machine = machine_number(&name(parent));
    let run = match machine {
        Some(_) => name(parent.and_then(Path::parent)),
        None => name(parent),
    };
    let machine = match RunFile::OF_RUN.contains(&file) {
        true => None,
        false => Some(machine.unwrap_or(0)),
    };
    let place = Place {
        run: run.clone(),
        machine,
        file,
    };
    Ok(Found {
        run,
        machines: machine.into_iter().collect(),
        files: vec![(place, path.to_owned())],
    })
}

fn find_in_folder(folder: &Path) -> Result<Found, String> {
    let own = machine_number(&name(Some(folder)));
    let run = match own {
        Some(_) => name(folder.parent()),
        None => name(Some(folder)),
    };
    let mut boots: Vec<(u32, PathBuf)> = match own {
        Some(machine) => vec![(machine, folder.to_owned())],
        None => folder
            .read_dir()
            .map_err(|error| format!("cannot read {}: {error}", folder.display()))?
            .flatten()
            .filter_map(|entry| {
                Some((
                    machine_number(&entry.file_name().to_string_lossy())?,
                    entry.path(),
                ))
            })
            .collect(),
    };
    boots.sort();
    let mut files = Vec::new();
    let mut add = |machine, folder: &Path, candidates: &[RunFile]| {
        for file in candidates {
            let path = folder.join(file.name());
            if path.is_file() {
                let place = Place {
                    run: run.clone(),
                    machine,
                    file: *file,
                };
                files.push((place, path));
            }
        }
    };
    for (machine, path) in &boots {
        add(Some(*machine), path, &RunFile::OF_BOOT);
    }
    if own.is_none() {
        add(None, folder, &RunFile::OF_RUN);
    }
    if files.is_empty() {
        return Err(format!(
            "{} holds no run: expected run.json or m00, m01, ... in it",
            folder.display()
        ));
    }
    Ok(Found {
        run,
        machines: boots.into_iter().map(|(machine, _)| machine).collect(),
        files,
    })
}

/// Tells everything, then ends.
///
/// # Errors
/// [`Ended`] when nobody listens.
pub fn replay(sink: &Sink, found: Found) -> Result<(), Ended> {
    sink.send(Feed::Link(Link::Up))?;
    sink.send(Feed::Run(found.run.clone()))?;
    for machine in &found.machines {
        sink.send(Feed::Boot(found.run.clone(), *machine))?;
    }
    for (place, path) in &found.files {
        replay_file(sink, place, path)?;
    }
    // What is not there will not come.
    let of_run = RunFile::OF_RUN.map(|file| (None, file));
    let of_boots = found
        .machines
        .iter()
        .flat_map(|machine| RunFile::OF_BOOT.map(|file| (Some(*machine), file)));
    for (machine, file) in of_run.into_iter().chain(of_boots) {
        let place = Place {
            run: found.run.clone(),
            machine,
            file,
        };
        sink.send(Feed::File(place, FileEvent::End))?;
    }
    sink.send(Feed::Finished)
}

fn replay_file(sink: &Sink, place: &Place, path: &Path) -> Result<(), Ended> {
    let refused = |error: std::io::Error| {
        let why = FileEvent::Refused(error.to_string());
        sink.send(Feed::File(place.clone(), why))
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return refused(error),
    };
    let mut offset = 0;
    loop {
        let mut bytes = vec![0; PIECE];
        match file.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                bytes.truncate(count);
                let event = FileEvent::Data { offset, bytes };
                sink.send(Feed::File(place.clone(), event))?;
                offset += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return refused(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_single_files_are_found() {
        let base = tempfile::tempdir().unwrap();
        let run = base.path().join("20261123-120000");
        std::fs::create_dir_all(run.join("m01")).unwrap();
        std::fs::create_dir_all(run.join("m00")).unwrap();
        assert!(find(&run).unwrap_err().contains("holds no run"));
        for file in [
            "m00/trace.hvt",
            "m01/trace.hvt",
            "m01/vmm.log",
            "run.json",
            "other",
        ] {
            std::fs::write(run.join(file), "").unwrap();
        }
        let whole = find(&run).unwrap();
        assert_eq!(
            (&*whole.run, &*whole.machines),
            ("20261123-120000", &[0, 1][..])
        );
        assert_eq!(whole.files.len(), 4);
        let boot = find(&run.join("m01")).unwrap();
        assert_eq!(
            (&*boot.run, &*boot.machines, boot.files.len()),
            ("20261123-120000", &[1][..], 2)
        );
        let one = find(&run.join("m01/trace.hvt")).unwrap();
        assert_eq!(one.files[0].0.machine, Some(1));
        assert!(
            find(&run.join("other"))
                .unwrap_err()
                .contains("no file of a run")
        );
        assert!(find(&run.join("none")).unwrap_err().contains("cannot read"));
    }
}
