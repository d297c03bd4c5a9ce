//! The functions that scripts see. Each is registered together with its reference entry, so the
//! reference page cannot drift from the code; a test runs every example on the fake machine.

/// Registers a function that uses the session:
/// `function!(api, "name", "signature", "text", "example", |session, argument: Type| body)`.
/// A fault of `body` becomes a script error at the place of the call. With `overload` there is no entry.
macro_rules! function {
    ($api:ident, overload $name:expr, |$session:ident $(, $argument:ident : $type:ty)*| -> $result:ty $body:block) => {{
        let shared = $api.session.clone();
        $api.engine.register_fn($name, move |$($argument: $type),*| -> $crate::api::Answer<$result> {
            $crate::api::with_session(&shared, |$session| -> Result<$result, $crate::session::Failure> { $body })
        });
    }};
    ($api:ident, $name:literal, $signature:literal, $text:literal, $example:literal,
     |$session:ident $(, $argument:ident : $type:ty)*| -> $result:ty $body:block) => {{
        $api.entry($signature, $text, $example);
        function!($api, overload $name, |$session $(, $argument : $type)*| -> $result $body);
    }};
}

mod check;
mod execution;
mod fuzz;
mod instructions;
mod machine;
mod measure;
mod memory;
mod number;
mod registers;

pub(crate) use machine::{hidden_memory, test_device};

use crate::session::{Failure, Session, Shared};
use alloc::{boxed::Box, string::ToString, vec::Vec};
use rhai::{Dynamic, Engine, EvalAltResult, Module, Position};

/// One entry of the reference.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Section.
    pub section: &'static str,
    /// How it is called.
    pub signature: &'static str,
    /// What it does.
    pub text: &'static str,
    /// A line that runs.
    pub example: &'static str,
}

/// A script function's result.
type Answer<T> = Result<T, Box<EvalAltResult>>;

/// The engine under construction, with its reference.
struct Api {
    engine: Engine,
    constants: Module,
    entries: Vec<Entry>,
    section: &'static str,
    session: Shared,
}

impl Api {
    fn section(&mut self, name: &'static str) {
        self.section = name;
    }

    fn entry(&mut self, signature: &'static str, text: &'static str, example: &'static str) {
        self.entries.push(Entry {
            section: self.section,
            signature,
            text,
            example,
        });
    }

    fn constant(
        &mut self,
        name: &'static str,
        value: i64,
        text: &'static str,
        example: &'static str,
    ) {
        self.constants.set_var(name, value);
        self.entry(name, text, example);
    }
}

fn with_session<T>(
    shared: &Shared,
    body: impl FnOnce(&mut Session) -> Result<T, Failure>,
) -> Answer<T> {
    let mut session = shared
        .try_borrow_mut()
        .map_err(|_| error("the session is in use"))?;
    body(&mut session).map_err(|why| error(&why))
}

/// A script error; the engine adds the place of the call.
pub(crate) fn error(why: &str) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(
        why.to_string().into(),
        Position::NONE,
    ))
}

/// Ends the script; it cannot be caught. The findings say why.
pub(crate) fn stop() -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorTerminated(
        Dynamic::UNIT,
        Position::NONE,
    ))
}

/// An engine with all functions, and the reference.
pub(crate) fn engine(session: &Shared) -> (Engine, Vec<Entry>) {
    let mut api = Api {
        engine: Engine::new(),
        constants: Module::new(),
        entries: Vec::new(),
        section: "",
        session: session.clone(),
    };
    check::register(&mut api);
    machine::register(&mut api);
    execution::register(&mut api);
    instructions::register(&mut api);
    fuzz::register(&mut api);
    registers::register(&mut api);
    memory::register(&mut api);
    measure::register(&mut api);
    number::register(&mut api);
    let Api {
        mut engine,
        constants,
        entries,
        ..
    } = api;
    engine.register_global_module(constants.into());
    limits(&mut engine);
    (engine, entries)
}

/// Bounds on everything that an erring script could grow; time is bounded by the runner.
fn limits(engine: &mut Engine) {
    engine.set_max_call_levels(24);
    engine.set_max_expr_depths(64, 32);
    engine.set_max_string_size(256 * 1024);
    engine.set_max_array_size(64 * 1024);
    engine.set_max_map_size(16 * 1024);
    engine.set_max_modules(16);
}
