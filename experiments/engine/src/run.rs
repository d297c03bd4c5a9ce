//! Runs one script: head, needs, parameters, time limit, verdict.

use crate::{
    api::{self, Entry},
    guest::Guest,
    head::{Head, Need, WithoutHypervisor},
    report::Report,
    session::{Session, Shared},
};
use abi::probe::HYPERCALL_NONE;
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use core::cell::RefCell;
use rhai::{
    Dynamic, Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared as SharedModule,
};
use trace_record::{run::Parameter, verdict::Verdict};

/// What to run.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// File name for messages, `hypercall-map.rhai`.
    pub file: &'a str,
    /// The script.
    pub source: &'a str,
    /// Parameters that differ from the defaults.
    pub parameters: BTreeMap<String, Parameter>,
    /// Seed of random numbers.
    pub seed: u64,
    /// Seconds; 0 takes the limit of the head.
    pub time_limit_s: u32,
}

/// Operations between two looks at the clock.
const OPERATIONS_PER_LOOK: u64 = 512;

/// Runs a script to its verdict. Whatever goes wrong is in the report.
pub fn run(guest: Box<dyn Guest>, job: &Job<'_>) -> Report {
    let failed = |why: String| {
        let mut findings = crate::report::Findings::default();
        findings.add(Verdict::Error, &why, None);
        findings.finish(false)
    };
    let head = match Head::parse(job.source) {
        Ok(head) => head,
        Err(error) => return failed(format!("{}:{}:1: {}", job.file, error.line, error.why)),
    };
    let mut session = match Session::new(guest) {
        Ok(session) => session,
        Err(why) => return failed(why),
    };
    if let Err(why) = prepare(&mut session, &head, job) {
        return failed(why);
    }
    let only_info = session.machine.hypercall == HYPERCALL_NONE
        && head.without_hypervisor == WithoutHypervisor::Info;
    let shared: Shared = Rc::new(RefCell::new(session));
    evaluate(&shared, &head, job);
    let findings = core::mem::take(&mut shared.borrow_mut().findings);
    findings.finish(only_info)
}

fn prepare(session: &mut Session, head: &Head, job: &Job<'_>) -> Result<(), String> {
    session.parameters = head
        .params
        .iter()
        .map(|param| (param.name.clone(), param.default.clone()))
        .collect();
    for (name, value) in &job.parameters {
        let declared = head
            .params
            .iter()
            .find(|param| param.name == *name)
            .ok_or_else(|| format!("{}: the script has no parameter `{name}`", job.file))?;
        let value = declared
            .check(value.clone())
            .map_err(|why| format!("{}: {why}", job.file))?;
        session.parameters.insert(name.clone(), value);
    }
    session.seed = job.seed;
    session.write_ahead = head.risk == crate::head::Risk::MayCrash;
    session.time_limit_s = if job.time_limit_s == 0 {
        head.time_limit_s
    } else {
        job.time_limit_s
    };
    session.deadline_ns = session
        .guest
        .now_ns()
        .saturating_add(u64::from(session.time_limit_s) * 1_000_000_000);
    Ok(())
}

/// What is missing for the experiment, if anything.
fn missing(session: &mut Session, head: &Head) -> Result<Option<String>, String> {
    let present = session.machine.hypercall != HYPERCALL_NONE;
    if !present && head.without_hypervisor == WithoutHypervisor::Skip {
        return Ok(Some("no hypervisor: vmmcall and vmcall raise #UD".into()));
    }
    for need in &head.needs {
        let lacking = match need {
            Need::Hypervisor => {
                (!present).then(|| "no hypervisor: vmmcall and vmcall raise #UD".into())
            }
            Need::Hypercall(name) => {
                (session.hypercall_number(name)? == 0).then(|| format!("no hypercall `{name}`"))
            }
            Need::Cpu(vendor) => {
                let wanted: &[u8] = if vendor == "amd" {
                    b"AuthenticAMD"
                } else {
                    b"GenuineIntel"
                };
                (!session.machine.vendor.starts_with(wanted))
                    .then(|| format!("needs a CPU of vendor {vendor}"))
            }
            Need::TestDevice => api::test_device(session)?
                .is_none()
                .then(|| "no second virtio network device to test".into()),
            Need::HiddenMemory => api::hidden_memory(session)?
                .is_empty()
                .then(|| "no RAM is missing from the memory map below 4 GiB".into()),
        };
        if lacking.is_some() {
            return Ok(lacking);
        }
    }
    Ok(None)
}

fn evaluate(shared: &Shared, head: &Head, job: &Job<'_>) {
    let skip = missing(&mut shared.borrow_mut(), head);
    match skip {
        Err(why) => return shared.borrow_mut().findings.add(Verdict::Error, &why, None),
        Ok(Some(reason)) => {
            return shared
                .borrow_mut()
                .findings
                .add(Verdict::Skip, &reason, None);
        }
        Ok(None) => {}
    }
    let before = shared.borrow_mut().reference();
    let (mut engine, _) = api::engine(shared);
    let late = shared.clone();
    engine.on_progress(move |operations| {
        if operations % OPERATIONS_PER_LOOK != 0 {
            return None;
        }
        let mut session = late.try_borrow_mut().ok()?;
        if session.guest.now_ns() < session.deadline_ns {
            return None;
        }
        let why = format!("time limit of {} s reached", session.time_limit_s);
        session.findings.add(Verdict::Error, &why, None);
        Some(Dynamic::UNIT)
    });
    engine.set_module_resolver(Includes {
        session: shared.clone(),
    });
    let result = compile_and_run(&engine, job);
    let mut session = shared.borrow_mut();
    if let Err(why) = result {
        session.findings.add(Verdict::Error, &why, None);
    }
    if let Err(why) = session.release_all() {
        session
            .findings
            .add(Verdict::Error, &format!("clean-up: {why}"), None);
    }
    let after = session.reference();
    if before != after {
        let text = format!(
            "the reference request answered {before:x?} before and {after:x?} after the script"
        );
        session.findings.add(Verdict::Wedged, &text, None);
    }
    if let Err(why) = session.release_all() {
        session
            .findings
            .add(Verdict::Error, &format!("clean-up: {why}"), None);
    }
}

fn compile_and_run(engine: &Engine, job: &Job<'_>) -> Result<(), String> {
    let mut tree = engine.compile(job.source).map_err(|error| {
        format!(
            "{}: {}",
            place(job.file, error.position()),
            error.err_type()
        )
    })?;
    tree.set_source(job.file);
    match engine.run_ast_with_scope(&mut Scope::new(), &tree) {
        Ok(()) => Ok(()),
        Err(error) => explain(&error, job.file).map_or(Ok(()), Err),
    }
}

/// `file:line:column: what`; nothing if the script ended itself by a verdict.
fn explain(error: &EvalAltResult, file: &str) -> Option<String> {
    let (mut error, mut file) = (error, file.to_string());
    let mut position = error.position();
    loop {
        let (source, inner) = match error {
            EvalAltResult::ErrorInFunctionCall(_, source, inner, _) => (source.as_str(), inner),
            EvalAltResult::ErrorInModule(module, inner, _) => (module.as_str(), inner),
            _ => break,
        };
        if !source.is_empty() {
            file = source.to_string();
        }
        error = inner;
        if error.position() != Position::NONE {
            position = error.position();
        }
    }
    let what = match error {
        EvalAltResult::ErrorTerminated(..) | EvalAltResult::Exit(..) => return None,
        EvalAltResult::ErrorRuntime(why, _) => why.to_string(),
        EvalAltResult::ErrorParsing(why, _) => why.to_string(),
        other => {
            // The display ends with the position, which stands in front already.
            let text = other.to_string();
            text.split(" (line ").next().unwrap_or(&text).to_string()
        }
    };
    Some(format!("{}: {what}", place(&file, position)))
}

fn place(file: &str, position: Position) -> String {
    match (position.line(), position.position()) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        (Some(line), None) => format!("{file}:{line}:1"),
        _ => file.to_string(),
    }
}

/// `import "lib/virtio" as virtio;` reads `lib/virtio.rhai` from the catalogue.
struct Includes {
    session: Shared,
}

impl ModuleResolver for Includes {
    fn resolve(
        &self,
        engine: &Engine,
        _source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<SharedModule<Module>, Box<EvalAltResult>> {
        let refuse = |why: String| {
            Box::new(EvalAltResult::ErrorRuntime(
                format!("import {path:?}: {why}").into(),
                position,
            ))
        };
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
        if path.is_empty() || path.starts_with('/') || !path.chars().all(good) {
            return Err(refuse(
                "a name has letters, digits, `-`, `_` and `/` only".into(),
            ));
        }
        let file = format!("{path}.rhai");
        let bytes = {
            let mut session = self
                .session
                .try_borrow_mut()
                .map_err(|_| refuse("the session is in use".into()))?;
            session
                .guest
                .catalogue_file(&file)
                .map_err(|errno| refuse(errno.text().into()))?
        };
        let source = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".into()))?;
        let mut tree = engine.compile(&source).map_err(|error| {
            refuse(format!(
                "{}: {}",
                place(&file, error.position()),
                error.err_type()
            ))
        })?;
        tree.set_source(file.as_str());
        Module::eval_ast_as_new(Scope::new(), &tree, engine).map(Into::into)
    }
}

/// Compiles a script without running it.
pub fn compile(file: &str, source: &str) -> Result<(), String> {
    let mut engine = Engine::new_raw();
    engine.set_max_expr_depths(64, 32);
    engine
        .compile(source)
        .map(drop)
        .map_err(|error| format!("{}: {}", place(file, error.position()), error.err_type()))
}

/// The reference of all functions, on any guest.
pub fn reference(guest: Box<dyn Guest>) -> Result<Vec<Entry>, String> {
    let session: Shared = Rc::new(RefCell::new(Session::new(guest)?));
    Ok(api::engine(&session).1)
}
