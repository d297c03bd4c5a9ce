//! hx: run experiments.
//!
//! Each experiment runs in a child, so that one that dies does not take the plan with it. An append to
//! `verdicts.hvv` returns when the server has written it: that is the acknowledgement, and the next
//! experiment starts after it.
#![no_std]
#![no_main]
use engine::{Guest, Head, Job, Report, plan};
use ulib::abi::Errno;
use ulib::prelude::*;
use ulib::time::{Duration, Instant};

ulib::main!(
    main,
    "hx [-s SEED] [FILE [NAME=VALUE...]]\n\
     Run the experiment FILE (a path, also server:/catalogue/...) and print its result.\n\
     Without FILE: carry out the plan of this run, set by server= and run=, and append the\n\
     verdicts to verdicts.hvv beside it.\n\
     Status: that of the worst verdict, 0 as expected, 1 FAIL, 2 ERROR, 3 WEDGED."
);

const CATALOGUE: &str = "server:/catalogue";

fn main() -> Result<i32> {
    let options = env::options("s:")?;
    let seed = options.number('s', 1)?;
    match options.operands.split_first() {
        Some((file, parameters)) => run_one(file, parameters, seed),
        None => {
            let run =
                env::setting("run").ok_or("no run= among the settings; give a FILE, see hx -h")?;
            carry_out(&format!("server:/runs/{run}"))
        }
    }
}

/// One experiment, its result on the console.
fn run_one(file: &str, words: &[&str], seed: u64) -> Result<i32> {
    let source = fs::read_to_string(file)?;
    let head =
        Head::parse(&source).map_err(|error| format!("{file}:{}:1: {}", error.line, error.why))?;
    let parameters = plan::parameters(&head, words.iter().copied())?;
    println!("{}: {}", fs::file_name(file), head.title);
    let folder = file
        .strip_suffix(fs::file_name(file))
        .unwrap_or("")
        .trim_end_matches('/');
    let job = Job {
        file: fs::file_name(file),
        source: &source,
        parameters,
        seed,
        time_limit_s: 0,
    };
    let report = engine::run(
        Box::new(Machine {
            catalogue: folder.to_owned(),
        }),
        &job,
    );
    print!("{}", report.detail);
    for row in &report.measurements {
        println!(
            "{:>20} {}: n {} min {} p5 {} median {} p95 {} p99 {} max {}",
            row.name, row.unit, row.n, row.min, row.p5, row.median, row.p95, row.p99, row.max
        );
    }
    println!("{} {}", report.verdict.word(), report.reason);
    Ok(i32::from(report.verdict.exit_status()))
}

/// The whole plan of this boot.
fn carry_out(folder: &str) -> Result<i32> {
    let text = fs::read_to_string(&format!("{folder}/plan.jsonl"))?;
    let items = plan::read(&text).map_err(|why| format!("{folder}/plan.jsonl: {why}"))?;
    let mut verdicts = fs::File::append(&format!("{folder}/verdicts.hvv"))?;
    let mut worst = 0;
    for (index, item) in items.iter().enumerate() {
        let sequence = 2 * index as u32;
        verdicts.write_all(&plan::started(sequence, &item.id))?;
        println!("[{}/{}] {}", index + 1, items.len(), item.id);
        mark(&format!("begin {}", item.id));
        let (mut answer, mut result) = io::pipe()?;
        // Moved into the closure, the writing end closes here when the child has its copy.
        let child = process::fork(move || {
            let report = run_item(item);
            // One byte before the record: the exit status may be that of a death.
            let mut message = vec![report.verdict.exit_status()];
            message.extend(plan::finished(sequence + 1, &item.id, report));
            i32::from(result.write_all(&message).is_err())
        })?;
        let mut message = Vec::new();
        answer.read_to_end(&mut message)?;
        let status = child.wait()?;
        if status != 0 || message.is_empty() {
            let report = plan::failure(&format!(
                "the experiment's process ended with status {status}"
            ));
            message = vec![report.verdict.exit_status()];
            message.extend(plan::finished(sequence + 1, &item.id, report));
        }
        mark(&format!("end {}", item.id));
        verdicts.write_all(&message[1..])?;
        worst = worst.max(i32::from(message[0]));
    }
    println!("hx: {} experiments, status {worst}", items.len());
    Ok(worst)
}

/// Says in the trace which records belong to which experiment. Without tracing there is nothing to mark.
fn mark(text: &str) {
    let _ = sys::trace_event(text.as_bytes());
}

fn run_item(item: &plan::PlanItem) -> Report {
    let source = match fs::read_to_string(&format!("{CATALOGUE}/{}", item.file)) {
        Ok(source) => source,
        Err(error) => return plan::failure(&format!("{error}")),
    };
    let job = Job {
        file: &item.file,
        source: &source,
        parameters: item.parameters.clone(),
        seed: item.seed,
        time_limit_s: item.time_limit_s,
    };
    let report = engine::run(
        Box::new(Machine {
            catalogue: CATALOGUE.to_owned(),
        }),
        &job,
    );
    println!("      {} {}", report.verdict.word(), report.reason);
    report
}

/// The machine that hx runs on.
struct Machine {
    /// Folder that imports are read from.
    catalogue: String,
}

impl Guest for Machine {
    fn probe(
        &mut self,
        operation: i32,
        request: &[u8],
        response: &mut [u8],
    ) -> core::result::Result<usize, Errno> {
        sys::probe(operation, request, response)
    }

    fn now_ns(&mut self) -> u64 {
        Instant::now().since_boot().as_nanos() as u64
    }

    fn sleep_ms(&mut self, milliseconds: u64) {
        ulib::thread::sleep(Duration::from_millis(milliseconds));
    }

    fn catalogue_file(&mut self, path: &str) -> core::result::Result<Vec<u8>, Errno> {
        fs::read(&fs::join(&self.catalogue, path))
            .map_err(|error| error.errno().unwrap_or(Errno::EIO))
    }

    fn setting(&mut self, key: &str) -> Option<String> {
        env::setting(key)
    }

    fn say(&mut self, line: &str) {
        println!("      {line}");
    }

    fn event(&mut self, text: &str) {
        // An event that finds no room in the ring is counted there.
        let _ = sys::trace_event(text.as_bytes());
    }
}
