//! Where results go: records in the run folder when a run is set, the console in any case.

use trace_record::verdict::{Progress, Verdict, VerdictRecord};
use ulib::prelude::*;

/// Takes the results.
pub struct Report {
    records: Option<fs::File>,
    sequence: u32,
    counts: [u32; 4],
    worst: Verdict,
}

impl Report {
    /// Opens the record file of this boot if the settings name a run.
    pub fn open() -> Result<Self> {
        let records = match env::setting("run") {
            Some(run) => Some(fs::File::append(&format!(
                "server:/runs/{run}/verdicts.hvv"
            ))?),
            None => None,
        };
        Ok(Self {
            records,
            sequence: 0,
            counts: [0; 4],
            worst: Verdict::Pass,
        })
    }

    /// A test is about to run.
    pub fn started(&mut self, name: &str) -> Result<()> {
        print!("{name}: ");
        self.append(name, Progress::Started)
    }

    /// A test ended.
    pub fn finished(&mut self, name: &str, verdict: Verdict, reason: String) -> Result<()> {
        let place = match verdict {
            Verdict::Pass => 0,
            Verdict::Fail => 1,
            Verdict::Skip => 2,
            _ => 3,
        };
        self.counts[place] += 1;
        self.worst = self.worst.max(verdict);
        match reason.is_empty() {
            true => println!("{}", verdict.word()),
            false => println!("{} {reason}", verdict.word()),
        }
        self.append(
            name,
            Progress::Finished {
                verdict,
                reason,
                detail: String::new(),
                measurements: Vec::new(),
            },
        )
    }

    /// Prints the sum; the exit status.
    pub fn finish(self) -> i32 {
        let [pass, fail, skip, error] = self.counts;
        println!("usertests: {pass} passed, {fail} failed, {skip} skipped, {error} errors");
        self.worst.exit_status().into()
    }

    /// The write returns when the server has answered, so the next record never overtakes this one.
    fn append(&mut self, name: &str, progress: Progress) -> Result<()> {
        let Some(file) = &mut self.records else {
            return Ok(());
        };
        let record = VerdictRecord {
            sequence: self.sequence,
            experiment: format!("usertests/{name}"),
            progress,
        };
        self.sequence += 1;
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        file.write_all(&bytes)
    }
}
