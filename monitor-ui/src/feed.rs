//! What a source (a server, a file, the demo) tells the model. Nothing here is about screens.

use protocol::Operation;

/// How the connection to the source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not up, and trying.
    Connecting {
        /// Attempts since it was last up.
        attempts: u32,
        /// What the last attempt said.
        last: String,
        /// Milliseconds until the next attempt.
        next_in_ms: u64,
    },
    /// Up.
    Up,
    /// The server will not have us, or the file cannot be read: nothing more comes.
    Failed(String),
}

/// One of the files of a run folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunFile {
    /// `run.json`.
    Info,
    /// `results.jsonl`.
    Results,
    /// `mNN/plan.jsonl`.
    Plan,
    /// `mNN/trace.hvt`.
    Trace,
    /// `mNN/verdicts.hvv`.
    Verdicts,
    /// `mNN/vmm.log`.
    VmmLog,
    /// `mNN/console.log`.
    Console,
}

impl RunFile {
    /// The files of the run itself.
    pub const OF_RUN: [RunFile; 2] = [Self::Info, Self::Results];
    /// The files of each boot. The plan comes first: it gives the experiments their order.
    pub const OF_BOOT: [RunFile; 5] = [
        Self::Plan,
        Self::Trace,
        Self::Verdicts,
        Self::VmmLog,
        Self::Console,
    ];

    /// Its name in the folder.
    pub const fn name(self) -> &'static str {
        use trace_record::run;
        match self {
            Self::Info => run::RUN_JSON,
            Self::Results => run::RESULTS,
            Self::Plan => run::PLAN,
            Self::Trace => run::TRACE,
            Self::Verdicts => run::VERDICTS,
            Self::VmmLog => run::VMM_LOG,
            Self::Console => run::CONSOLE_LOG,
        }
    }
}

/// Names one file of one run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The run's id.
    pub run: String,
    /// The boot, for files of a boot.
    pub machine: Option<u32>,
    /// Which file.
    pub file: RunFile,
}

/// What happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// Bytes of it.
    Data {
        /// Where they stand in it.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// It begins anew: it was cut, replaced or removed.
    Anew,
    /// Everything in it so far was told.
    End,
    /// It cannot be followed.
    Refused(String),
}

/// What one session did with one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationCount {
    /// Session number.
    pub session: u64,
    /// The name the client gave itself, untrusted.
    pub name: Vec<u8>,
    /// Milliseconds since it was last asked for.
    pub ago_ms: u64,
    /// The operation.
    pub operation: Operation,
    /// How often.
    pub calls: u64,
    /// How many were refused.
    pub errors: u64,
    /// Bytes of data in both directions.
    pub bytes: u64,
}

/// The server's counters.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ServerCounts {
    /// Milliseconds since the server started.
    pub uptime_ms: u64,
    /// Connections that are open.
    pub connections: u32,
    /// Refused hellos.
    pub refused: u64,
    /// By session and operation.
    pub counts: Vec<OperationCount>,
}

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// How the connection is now.
    Link(Link),
    /// There is this run.
    Run(String),
    /// There is this boot of a run.
    Boot(String, u32),
    /// Runs that exist but are not followed, because there are too many.
    NotFollowed(usize),
    /// Something happened to a file.
    File(Place, FileEvent),
    /// The server's counters.
    Server(ServerCounts),
    /// Nothing more will come: the file was read to its end.
    Finished,
}
