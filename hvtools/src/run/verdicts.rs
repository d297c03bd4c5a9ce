//! Reads `verdicts.hvv` while the guest appends to it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use trace_record::verdict::{VerdictError, VerdictRecord};

/// The file, read up to some record.
#[derive(Debug)]
pub struct VerdictTail {
    path: PathBuf,
    position: u64,
    pending: Vec<u8>,
    /// What the next record's sequence must be.
    next: u32,
    broken: Option<String>,
}

impl VerdictTail {
    /// Begins at the first record; the file need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf) -> VerdictTail {
        VerdictTail {
            path,
            position: 0,
            pending: Vec::new(),
            next: 0,
            broken: None,
        }
    }

    /// The records that came since the last call.
    pub fn new_records(&mut self) -> Vec<VerdictRecord> {
        let new = self.read_on().unwrap_or_default();
        self.position += new.len() as u64;
        self.pending.extend_from_slice(&new);
        let mut records = Vec::new();
        while self.broken.is_none() {
            match VerdictRecord::decode(&self.pending) {
                Ok((record, length)) => {
                    self.pending.drain(..length);
                    if record.sequence == self.next {
                        self.next += 1;
                        records.push(record);
                    } else {
                        self.broken = Some(format!(
                            "record {} is missing: {} came instead",
                            self.next, record.sequence
                        ));
                    }
                }
                Err(VerdictError::Incomplete) => break,
                Err(error) => self.broken = Some(format!("record {}: {error}", self.next)),
            }
        }
        records
    }

    /// Why nothing behind some record can be believed, if so.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    fn read_on(&self) -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use trace_record::verdict::Progress;

    fn record(sequence: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        VerdictRecord {
            sequence,
            experiment: "x".into(),
            progress: Progress::Started,
        }
        .encode(&mut bytes);
        bytes
    }

    fn file() -> (tempfile::TempDir, File, VerdictTail) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verdicts.hvv");
        let tail = VerdictTail::new(path.clone());
        (folder, File::create(path).unwrap(), tail)
    }

    #[test]
    fn half_a_record_waits_for_its_rest() {
        let (_folder, mut file, mut tail) = file();
        let bytes = [record(0), record(1)].concat();
        file.write_all(&bytes[..record(0).len() + 3]).unwrap();
        assert_eq!(tail.new_records().len(), 1);
        file.write_all(&bytes[record(0).len() + 3..]).unwrap();
        assert_eq!(tail.new_records().len(), 1);
        assert_eq!((tail.new_records().len(), tail.broken()), (0, None));
    }

    #[test]
    fn a_gap_ends_the_belief() {
        let (_folder, mut file, mut tail) = file();
        file.write_all(&[record(0), record(2), record(3)].concat())
            .unwrap();
        assert_eq!(tail.new_records().len(), 1);
        assert_eq!(tail.broken(), Some("record 1 is missing: 2 came instead"));
        assert_eq!(tail.new_records().len(), 0);
    }

    #[test]
    fn a_flipped_bit_ends_the_belief() {
        let (_folder, mut file, mut tail) = file();
        let mut bytes = record(0);
        bytes[17] ^= 1;
        file.write_all(&bytes).unwrap();
        assert_eq!(tail.new_records().len(), 0);
        assert!(tail.broken().is_some());
    }
}
