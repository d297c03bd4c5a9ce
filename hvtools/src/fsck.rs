//! `hv fsck`: is a root file system image sound?

use std::path::Path;

use anyhow::{Context, Result};
use harness::Outcome;
use kcore::fs::MemoryDisk;

/// Prints what is wrong with the image; nothing is repaired.
///
/// # Errors
/// When the image cannot be read.
pub fn run(image: &Path) -> Result<Outcome> {
    let content = std::fs::read(image)
        .with_context(|| format!("cannot read the image {}", image.display()))?;
    let findings = kcore::fsck::check(&mut MemoryDisk(content));
    for finding in &findings {
        println!(
            "{}: {}",
            if finding.is_note() { "note" } else { "error" },
            harness::escaped(&finding.to_string())
        );
    }
    let errors = findings.iter().filter(|finding| !finding.is_note()).count();
    if errors > 0 {
        println!("{}: {errors} inconsistencies", image.display());
        return Ok(Outcome::Unexpected);
    }
    println!("{}: sound", image.display());
    Ok(Outcome::AsExpected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_image_is_sound_and_a_damaged_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fs.img");
        let files = [kcore::mkfs::File {
            name: b"README",
            content: b"hello",
        }];
        let mut image = kcore::mkfs::build(&kcore::mkfs::Parameters::default(), &files).unwrap();
        std::fs::write(&path, &image).unwrap();
        assert_eq!(run(&path).unwrap(), Outcome::AsExpected);
        image[1024] ^= 0xff; // the superblock's magic
        std::fs::write(&path, &image).unwrap();
        assert_eq!(run(&path).unwrap(), Outcome::Unexpected);
    }
}
